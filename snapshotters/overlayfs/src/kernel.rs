//! What this kernel's overlayfs wants to be told.

use gantry_snapshots_api::PathError;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, XattrFlags, lsetxattr, mknodat, renameat_with};
use std::fs;
use std::path::Path;

const PARAMETERS: &str = "/sys/module/overlay/parameters";

/// Options that every overlay mount gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Inode index: to be off, since layers are shared between mounts.
    pub index: bool,
    /// Renamed directories as redirects are on by default: to be off, since layers must stand alone.
    pub redirect: bool,
    /// Copying up attributes without bytes is on by default: to be off, for the same reason.
    pub metacopy: bool,
    /// We are in a user namespace and have to keep overlay's marks in `user.overlay.*`.
    pub userxattr: bool,
}

impl Kernel {
    /// Asks the running kernel. If the overlay module is not loaded yet, its options cannot be asked for and are left at
    /// their defaults, except `index`, which every kernel since 4.13 knows.
    pub fn probe() -> Self {
        let parameter = |name: &str| fs::read_to_string(format!("{PARAMETERS}/{name}")).ok();
        let is_on = |name: &str| parameter(name).is_some_and(|value| value.trim() == "Y");
        Self {
            index: parameter("index").is_some() || !Path::new(PARAMETERS).exists(),
            redirect: is_on("redirect_dir"),
            metacopy: is_on("metacopy"),
            userxattr: fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_initial(&map)),
        }
    }

    /// The options, in the order that clients know.
    pub fn options(&self) -> impl Iterator<Item = String> {
        [
            (self.index, "index=off"),
            (self.redirect, "redirect_dir=off"),
            (self.metacopy, "metacopy=off"),
            (self.userxattr, "userxattr"),
        ]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, word)| word.to_owned())
    }

    /// Whether the filesystem of `dir` can be an overlay's upper one: marks on files, devices as whiteouts, and whiteouts
    /// left by a rename. (An overlay, most network filesystems and old tmpfs cannot.)
    pub fn can_hold_layers(&self, dir: &Path) -> Result<bool, PathError> {
        let test = dir.join("probe");
        gantry_snapshots_dirs::remove_tree(&test)?;
        fs::create_dir(&test).map_err(PathError::of("create", &test))?;
        let can = self.try_marks(&test);
        gantry_snapshots_dirs::remove_tree(&test)?;
        Ok(can)
    }

    fn try_marks(&self, dir: &Path) -> bool {
        let mark = if self.userxattr {
            "user.overlay.opaque"
        } else {
            "trusted.overlay.opaque"
        };
        let marked = lsetxattr(dir, mark, b"y", XattrFlags::empty()).is_ok();
        let (from, to) = (dir.join("from"), dir.join("to"));
        let made = mknodat(CWD, &from, FileType::CharacterDevice, Mode::empty(), 0).is_ok();
        marked && made && renameat_with(CWD, &from, CWD, &to, RenameFlags::WHITEOUT).is_ok()
    }
}

/// The initial user namespace maps every id to itself (user_namespaces(7)).
fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_namespace_is_known_by_its_map() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
    }

    #[test]
    fn an_overlay_is_no_place_for_layers_but_a_disk_is() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Kernel::probe().can_hold_layers(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for name in ["lower", "upper", "work", "at"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let place = |name: &str| dir.path().join(name).display().to_string();
        let overlay = gantry_core::Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: ["lower", "upper", "work"]
                .map(|name| format!("{name}dir={}", place(name)))
                .into(),
        };
        let can = gantry_snapshots_mount::with_mounted(&dir.path().join("at"), &[overlay], |at| {
            Kernel::probe().can_hold_layers(at).unwrap()
        });
        assert!(!can.unwrap());
    }
}
