//! Commands, replies and events, as they cross to and from JavaScript.

mod access;
mod command;
mod event;
mod registers;
mod reply;
mod vcpu_state;

pub use access::BindingDeviceAccess;
pub use command::BindingCommand;
pub use event::BindingEvent;
