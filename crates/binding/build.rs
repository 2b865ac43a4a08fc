//! Linker settings of a Node-API addon.

fn main() {
    napi_build::setup();
    // Signal handlers are the process's: they must not go when the worker that loaded the addon ends.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
