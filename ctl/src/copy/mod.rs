//! Copying between a container and the host: what the two paths mean, and tar on our side of it.

mod extract;
mod pack;
mod path;

pub(crate) use extract::Extractor;
pub(crate) use pack::pack;
pub(crate) use path::{Found, Spec, place, split_target};
