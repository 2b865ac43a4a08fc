//! Linker settings of a Node-API addon.

fn main() {
    napi_build::setup();
    // Signal handlers belong to the process, so their code must stay mapped when the worker that loaded the addon ends.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
