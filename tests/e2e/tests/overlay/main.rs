//! Networks over several hosts: daemons in network namespaces of their own, on one wire, that share an etcd.

mod away;
mod bed;
mod hosts;
mod secure;
mod wire;
