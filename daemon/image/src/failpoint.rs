//! Places where a fault test may end the daemon. Compiled in only with the `failpoints` feature.

/// Names of the failpoints of this room, in the order a pull passes them.
pub const FAILPOINTS: &[&str] = &[
    "image::load::scanned",
    "image::unpack::prepared",
    "image::blob::written",
    "image::blob::committed",
    "image::unpack::filled",
    "image::unpack::committed",
    "image::config::labelled",
];

/// Passes a failpoint.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

pub(crate) use failpoint;
