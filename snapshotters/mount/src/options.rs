//! fstab options read into `mount(2)` flags and data.

use crate::{Error, Result};
use gantry_core::Mount;
use nix::mount::MsFlags;

/// Options that are flags: name, flag, and whether the name clears it. As `mount(8)` documents them.
const FLAGS: &[(&str, MsFlags, bool)] = &[
    ("async", MsFlags::MS_SYNCHRONOUS, true),
    ("atime", MsFlags::MS_NOATIME, true),
    ("bind", MsFlags::MS_BIND, false),
    ("defaults", MsFlags::empty(), false),
    ("dev", MsFlags::MS_NODEV, true),
    ("diratime", MsFlags::MS_NODIRATIME, true),
    ("dirsync", MsFlags::MS_DIRSYNC, false),
    ("exec", MsFlags::MS_NOEXEC, true),
    ("noatime", MsFlags::MS_NOATIME, false),
    ("nodev", MsFlags::MS_NODEV, false),
    ("nodiratime", MsFlags::MS_NODIRATIME, false),
    ("noexec", MsFlags::MS_NOEXEC, false),
    ("norelatime", MsFlags::MS_RELATIME, true),
    ("nostrictatime", MsFlags::MS_STRICTATIME, true),
    ("nosuid", MsFlags::MS_NOSUID, false),
    ("rbind", MsFlags::MS_BIND.union(MsFlags::MS_REC), false),
    ("relatime", MsFlags::MS_RELATIME, false),
    ("ro", MsFlags::MS_RDONLY, false),
    ("rw", MsFlags::MS_RDONLY, true),
    ("strictatime", MsFlags::MS_STRICTATIME, false),
    ("suid", MsFlags::MS_NOSUID, true),
    ("sync", MsFlags::MS_SYNCHRONOUS, false),
];

const PROPAGATION: &[(&str, MsFlags)] = &[
    ("private", MsFlags::MS_PRIVATE),
    ("rprivate", MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
    ("rshared", MsFlags::MS_SHARED.union(MsFlags::MS_REC)),
    ("rslave", MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
    ("runbindable", MsFlags::MS_UNBINDABLE.union(MsFlags::MS_REC)),
    ("shared", MsFlags::MS_SHARED),
    ("slave", MsFlags::MS_SLAVE),
    ("unbindable", MsFlags::MS_UNBINDABLE),
];

/// Options that need more than a mount call and are refused by name.
const REFUSED: &[&str] = &["X-containerd.dmverity", "gidmap", "uidmap"];

const LOOP: &str = "loop";
const DIRECT_IO: &str = "direct-io";

#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    pub flags: MsFlags,
    pub propagation: Vec<MsFlags>,
    /// What the filesystem itself reads.
    pub data: Vec<String>,
    /// The source is a file, to be mounted over a loop device.
    pub behind_loop: bool,
    /// The loop device goes past the page cache.
    pub direct_io: bool,
}

impl Parsed {
    pub fn of(one: &Mount) -> Result<Self> {
        let mut parsed = Self {
            flags: MsFlags::empty(),
            propagation: Vec::new(),
            data: Vec::new(),
            behind_loop: false,
            direct_io: false,
        };
        if one.kind == "bind" {
            parsed.flags |= MsFlags::MS_BIND;
        }
        for option in &one.options {
            parsed.take(option)?;
        }
        // Only a loop device reads it.
        if parsed.behind_loop
            && let Some(at) = parsed.data.iter().position(|option| option == DIRECT_IO)
        {
            parsed.data.remove(at);
            parsed.direct_io = true;
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str) -> Result<()> {
        let key = option.split_once('=').map_or(option, |(key, _)| key);
        if REFUSED.contains(&key) {
            return Err(Error::Option {
                option: option.to_owned(),
            });
        }
        if option == LOOP {
            self.behind_loop = true;
        } else if let Some(&(_, flag, clears)) = FLAGS.iter().find(|row| row.0 == option) {
            self.flags.set(flag, !clears);
        } else if let Some(&(_, flag)) = PROPAGATION.iter().find(|row| row.0 == option) {
            self.propagation.push(flag);
        } else {
            self.data.push(option.to_owned());
        }
        Ok(())
    }

    pub fn data_len(&self) -> usize {
        self.data.iter().map(|option| option.len() + 1).sum()
    }

    /// The layers of an overlay, nearest first, with the kernel's escapes of colons undone; and the other data.
    pub fn layers(&self) -> (Vec<String>, Vec<&str>) {
        let mut layers = Vec::new();
        let mut rest = Vec::new();
        for option in &self.data {
            match option.strip_prefix("lowerdir=") {
                Some(list) => layers.extend(split(list)),
                None => rest.push(option.as_str()),
            }
        }
        (layers, rest)
    }
}

fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = list.chars();
    while let Some(letter) = letters.next() {
        let last = parts.last_mut().expect("it begins with one part");
        match letter {
            '\\' => last.extend(letters.next()),
            ':' => parts.push(String::new()),
            other => last.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        Mount {
            kind: kind.into(),
            source: "x".into(),
            target: String::new(),
            options: options.iter().map(|&option| option.into()).collect(),
        }
    }

    #[test]
    fn flags_data_and_propagation_are_told_apart() {
        let parsed = Parsed::of(&mount("bind", &["ro", "rbind", "rprivate", "nosuid", "suid"])).unwrap();
        assert_eq!(parsed.flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY);
        assert_eq!(parsed.propagation, [MsFlags::MS_PRIVATE | MsFlags::MS_REC]);
        assert!(parsed.data.is_empty());
    }

    #[test]
    fn layers_are_split_at_bare_colons() {
        let parsed = Parsed::of(&mount("overlay", &["index=off", "lowerdir=/a\\:b:/c", "upperdir=/u"])).unwrap();
        assert_eq!(
            parsed.layers(),
            (vec!["/a:b".into(), "/c".into()], vec!["index=off", "upperdir=/u"])
        );
    }

    #[test]
    fn a_loop_device_has_options_of_its_own() {
        let parsed = Parsed::of(&mount("ext4", &["ro", "loop", "direct-io", "noload"])).unwrap();
        assert!(parsed.behind_loop && parsed.direct_io);
        assert_eq!(parsed.data, ["noload"]);
        let parsed = Parsed::of(&mount("ext4", &["direct-io"])).unwrap();
        assert_eq!((parsed.behind_loop, parsed.data), (false, vec!["direct-io".to_owned()]));
    }

    #[test]
    fn id_maps_are_refused_by_name() {
        let error = Parsed::of(&mount("overlay", &["uidmap=0:1000:1"])).unwrap_err();
        assert_eq!(error.to_string(), "mount option \"uidmap=0:1000:1\" is not supported");
    }
}
