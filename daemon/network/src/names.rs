//! Names in user-defined networks: a small DNS server in every sandbox, at 127.0.0.11.
//!
//! The engine publishes who is called what as a [`Zone`]; each sandbox sees its own networks of it ([`View`]) and nothing
//! else. What is not a container's name is asked of the servers that the container would ask without us. The sockets sit on ports
//! of their own behind NAT in the sandbox, so that a container may serve port 53 itself; they can be given away and taken
//! back ([`Sockets`]), and what was asked in between waits in them.

mod answer;
mod forward;
mod inside;
mod redirect;
mod resolver;
mod sockets;
mod zone;

pub use crate::files::Upstream;
pub use resolver::Resolver;
pub use sockets::Sockets;
pub use zone::{Membership, NetworkNames, View, Zone};
