//! Places where a fault test may end the daemon: one between every intent and its effect. Compiled in only with the
//! `failpoints` feature.

/// Names of the failpoints of this room, in the order a container's life passes them.
pub const FAILPOINTS: &[&str] = &[
    "engine::activate::recorded",
    "engine::activate::device",
    "engine::activate::mounted",
    "engine::activate::made",
    "engine::deactivate::recorded",
    "engine::deactivate::unmounted",
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
    "engine::network::create::checked",
    "engine::network::create::recorded",
    "engine::network::create::made",
    "engine::network::remove::closed",
    "engine::network::remove::gone",
    "engine::network::enter::reserved",
    "engine::network::enter::recorded",
    "engine::network::enter::netns",
    "engine::network::enter::joined",
    "engine::network::enter::published",
    "engine::network::leave::withdrawn",
    "engine::network::leave::parted",
    "engine::network::leave::netns",
    "engine::network::leave::forgotten",
    "engine::network::connect::recorded",
    "engine::network::connect::joined",
    "engine::network::connect::made",
    "engine::network::disconnect::recorded",
    "engine::network::disconnect::parted",
    "engine::network::disconnect::forgotten",
    "engine::overlay::created",
    "engine::overlay::removed",
    "engine::overlay::claimed",
    "engine::overlay::announced",
    "engine::overlay::withdrawn",
    "engine::volume::create::recorded",
    "engine::volume::create::made",
    "engine::volume::fill",
    "engine::volume::mount",
    "engine::volume::subpath",
    "engine::volume::remove::recorded",
    "engine::volume::remove::aside",
    "engine::volume::remove::files",
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
