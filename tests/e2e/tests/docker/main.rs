//! The Docker API's door, with the real `docker` client: the same lines against gantryd and Debian's dockerd 20.10, at the version of
//! the API that both speak, with the same answers: stdout, stderr and exit code.
//!
//! What differs by nature is taken out first; `alike` is the list of it, field by field.

mod alike;
mod compose;
mod containers;
mod details;
mod doors;
mod fuzz;
mod images;
mod manuals;
mod networks;
mod oracle;
mod params;
mod schema;
mod shapes;
mod sides;
mod streams;
mod system;
mod volumes;
mod world;
