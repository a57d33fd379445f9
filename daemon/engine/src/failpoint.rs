//! Places where a fault test may end the daemon: one between every intent and its effect. Compiled in only with the
//! `failpoints` feature.

/// Names of the failpoints of this room, in the order a container's life passes them.
pub const FAILPOINTS: &[&str] = &[
    "engine::create::claimed",
    "engine::create::snapshot",
    "engine::create::files",
    "engine::create::recorded",
    "engine::make::files",
    "engine::make::shim",
    "engine::make::create",
    "engine::start",
    "engine::exec::recorded",
    "engine::exec::start",
    "engine::stop::signal",
    "engine::clear",
    "engine::clear::task",
    "engine::clear::shim",
    "engine::delete",
    "engine::delete::records",
    "engine::delete::recorded",
    "engine::delete::snapshot",
    "engine::delete::files",
    "engine::image::pulled",
    "engine::image::recorded",
    "engine::image::removed",
];

/// Passes a failpoint.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}
