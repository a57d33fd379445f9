//! The daemon killed at every named stop, over real containers.
//!
//! A stop is a place between an intent and its effect; [`stops`] reads them all from the rooms' sources. One is reached by [`life`],
//! which passes through every deed of the daemon: import, load, pull, create, start, exec, stop, remove, a shim's death, and the collection after them.
//! The daemon kills itself there; it is started again, the deeds must then all succeed under the same names, and in the end
//! nothing may be left. The daemon of these tests is built with its feature `failpoints`; the plain one knows no stops.

mod deeds;
mod doubles;
mod house;
mod registry;
mod sources;
mod walk;

pub use deeds::{cut_short, life, repeat};
pub use doubles::runs_once;
pub use house::{LIMIT, Passed, deadly, holdings, house, house_apart, slow, unfinished};
pub use registry::Props;
pub use sources::{is_activation, is_network, is_shared, stops};
pub use walk::{Walk, say, walk};
