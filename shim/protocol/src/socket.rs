//! Names of a shim's sockets: a hash of who drives it and what it holds, so that daemons with other addresses never meet
//! and the 108 bytes of a socket path are kept.

use sha2::{Digest, Sha256};

/// Where sockets go when nobody says otherwise.
pub const DEFAULT_DIR: &str = "/run/containerd/s";
/// Environment variable that names another directory (gantryd: `<exec-root>/s`).
pub const DIR_ENV: &str = "GANTRY_SHIM_SOCKET_DIR";

/// Path of the ttrpc socket of the shim that holds `id` (a container, or the group it belongs to).
pub fn task_socket(dir: &str, grpc_address: &str, namespace: &str, id: &str) -> String {
    let digest = Sha256::digest(format!("{grpc_address}/{namespace}/{id}"));
    let mut path = format!("{}/", dir.trim_end_matches('/'));
    for byte in &digest[..20] {
        path.push_str(&format!("{byte:02x}"));
    }
    path
}

/// Path of the socket that containerd's own shims make for what is no group: the whole hash, in a directory that cannot be chosen.
pub fn foreign_socket(grpc_address: &str, namespace: &str, id: &str) -> String {
    let digest = Sha256::digest(format!("{grpc_address}/{namespace}/{id}"));
    let mut path = format!("{DEFAULT_DIR}/");
    for byte in digest {
        path.push_str(&format!("{byte:02x}"));
    }
    path
}

/// Path of the attach socket beside a ttrpc socket.
pub fn attach_socket(task_socket: &str) -> String {
    format!("{task_socket}.a")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_each_part_and_fit() {
        let one = task_socket("/run/gantry/s/", "/run/gantry/gantry.sock", "gantry", "a");
        assert!(one.starts_with("/run/gantry/s/") && one.len() == 14 + 40, "{one}");
        assert_ne!(
            one,
            task_socket("/run/gantry/s", "/run/gantry/gantry.sock", "gantry", "b")
        );
        assert_ne!(
            one,
            task_socket("/run/gantry/s", "/run/gantry/gantry.sock", "k8s.io", "a")
        );
        assert_ne!(one, task_socket("/run/gantry/s", "/other.sock", "gantry", "a"));
        assert!(attach_socket(&one).ends_with(".a"));
        // As Debian's containerd-shim-runc-v2 1.6.20 names it.
        assert_eq!(
            foreign_socket("/run/containerd/containerd.sock", "default", "c1"),
            "/run/containerd/s/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888"
        );
    }
}
