//! Places where a fault test may end the daemon: between what is written down and what the kernel is told. Compiled in only with
//! the `failpoints` feature.

/// Their names.
pub const FAILPOINTS: &[&str] = &[
    "network::bridge::missing",
    "network::bridge",
    "network::vxlan",
    "network::cni",
    "network::pair::join",
    "network::pair::joining",
    "network::macvlan::join",
    "network::macvlan::joining",
];
