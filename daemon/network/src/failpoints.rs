//! Places where a fault test may end the daemon: between what is written down and what the kernel is told. Compiled in only with
//! the `failpoints` feature.

/// Their names.
pub const FAILPOINTS: &[&str] = &["network::vxlan", "network::cni"];
