//! Volumes, and what is mounted in containers, in the words of the Docker Engine API.

use crate::{Error, ErrorKind, Labels, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The only driver there is.
pub const LOCAL: &str = "local";
/// Label of volumes that were made without a name.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume: a directory with a name, that outlives containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    pub name: String,
    pub created_at: SystemTime,
    pub driver: String,
    /// `type`, `o`, `device`: what is mounted on its directory while somebody uses it.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: Labels,
    #[serde(default)]
    pub state: VolumeState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// Its directory is being made, and perhaps filled; a daemon that finds it so takes it back.
    Making,
    #[default]
    Ready,
    /// It is being deleted; a daemon that finds it so goes on.
    Removing,
}

impl VolumeRecord {
    pub fn new(name: &str, driver: &str, options: BTreeMap<String, String>, labels: Labels) -> Result<Self> {
        if driver != LOCAL {
            return Err(Error::not_found(format!(
                "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        check_name(name)?;
        check_options(&options)?;
        Ok(Self {
            name: name.to_owned(),
            created_at: SystemTime::now(),
            driver: driver.to_owned(),
            options,
            labels,
            state: VolumeState::Making,
        })
    }

    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }

    /// Whether something is mounted on its directory while it is used.
    pub fn is_mounted(&self) -> bool {
        self.options.contains_key("device")
    }
}

/// A letter or digit, then letters, digits, `_`, `.`, `-`.
pub fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    if crate::container::is_container_name(name) && name.len() <= 255 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    for (name, _) in options.iter().filter(|(_, value)| !value.is_empty()) {
        let needed: &[&str] = match name.as_str() {
            "type" => &["device"],
            "device" => &["type"],
            "o" => &["device", "type"],
            "size" => {
                return Err(Error::new(
                    ErrorKind::Unimplemented,
                    "quota size requested but no quota support",
                ));
            }
            other => return Err(Error::invalid(format!("invalid option: \"{other}\""))),
        };
        for other in needed {
            if options.get(*other).is_none_or(String::is_empty) {
                return Err(Error::invalid(format!("missing required option: \"{other}\"")));
            }
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    Bind,
    #[default]
    Volume,
    Tmpfs,
}

impl MountKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
        }
    }
}

/// `--mount`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountRequest {
    pub kind: MountKind,
    /// A host path for a bind, a volume's name (empty = an anonymous one) for a volume.
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub consistency: String,
    pub bind: BindOptions,
    pub volume: VolumeOptions,
    pub tmpfs: TmpfsOptions,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// Empty = rprivate.
    pub propagation: String,
    pub non_recursive: bool,
    /// Make the source where it is missing.
    pub create_source: bool,
    pub shallow_read_only: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    pub no_copy: bool,
    pub labels: Labels,
    pub driver: String,
    pub driver_options: BTreeMap<String, String>,
    pub subpath: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Bytes; 0 = no limit.
    pub size: i64,
    /// 0 = 1777.
    pub mode: u32,
}

/// Something mounted in a container, as it came to be when the container was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    pub kind: MountKind,
    /// Of a volume.
    pub name: String,
    /// Of a bind: the host's path.
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub propagation: String,
    /// As the user wrote it.
    pub mode: String,
    /// Within a volume.
    pub subpath: String,
    /// Of a volume: what the image has at its place is not copied into it.
    pub no_copy: bool,
    /// A volume that goes with the container if that is asked for.
    pub anonymous: bool,
    /// Of a bind: made at each start where it is missing.
    pub create_source: bool,
    pub non_recursive: bool,
    pub shallow_read_only: bool,
    /// Of a tmpfs.
    pub options: String,
}

impl MountPoint {
    /// The volume it is of.
    pub fn volume(&self) -> Option<&str> {
        (self.kind == MountKind::Volume).then_some(self.name.as_str())
    }
}

/// What to make a volume of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Empty = an anonymous one.
    pub name: String,
    /// Empty = local.
    pub driver: String,
    pub options: BTreeMap<String, String>,
    pub labels: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["data", "a1", "A_b.c-d", &"f".repeat(64)] {
            check_name(good).unwrap();
        }
        assert!(check_name("x").unwrap_err().message().contains("too short"));
        for bad in ["", "-a", "a b", "../x", "a/b", ".fill", &"f".repeat(256)] {
            assert!(
                check_name(bad).unwrap_err().message().contains("invalid characters"),
                "{bad}"
            );
        }
    }

    #[test]
    fn options_of_the_local_driver() {
        let check = |pairs: &[(&str, &str)]| {
            let options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            VolumeRecord::new("data", LOCAL, options, Labels::new()).map_err(|error| error.message().to_owned())
        };
        assert!(!check(&[]).unwrap().is_mounted());
        assert!(
            check(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")])
                .unwrap()
                .is_mounted()
        );
        assert_eq!(
            check(&[("type", "tmpfs")]).unwrap_err(),
            "missing required option: \"device\""
        );
        assert_eq!(check(&[("foo", "1")]).unwrap_err(), "invalid option: \"foo\"");
        let other = VolumeRecord::new("data", "nfs", BTreeMap::new(), Labels::new()).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::NotFound);
    }
}
