//! What mounts tell about the directories behind them.

use gantry_snapshots_api::{ApplyTarget, Error, Mount, Result, Whiteouts};
use std::path::PathBuf;

/// The two shapes whose directories can be read and written without mounting.
#[derive(Debug, PartialEq, Eq)]
pub enum Shape {
    /// Everything is in one directory.
    Plain { dir: PathBuf, writable: bool },
    /// The difference is in `upper`; below it `lower`, nearest first.
    Overlay {
        upper: PathBuf,
        lower: Vec<PathBuf>,
        writable: bool,
        /// Whiteouts and marks are those of a user namespace.
        user: bool,
    },
}

impl Shape {
    pub fn of(snapshotter: &'static str, mounts: &[Mount]) -> Result<Self> {
        Self::read(mounts).ok_or(Error::Unsupported {
            snapshotter,
            what: "looking into mounts of this kind",
        })
    }

    fn read(mounts: &[Mount]) -> Option<Self> {
        let [one] = mounts else { return None };
        if !one.target.is_empty() {
            return None;
        }
        let has = |word: &str| one.options.iter().any(|option| option == word);
        match one.kind.as_str() {
            "bind" => Some(Self::Plain {
                dir: one.source.clone().into(),
                writable: !has("ro"),
            }),
            "overlay" => {
                let value = |name: &str| one.options.iter().find_map(|o| o.strip_prefix(name)?.strip_prefix('='));
                let list = value("lowerdir")?;
                // A backslash hides a colon, and two colons begin data-only layers: neither is made here.
                if list.contains('\\') || list.contains("::") {
                    return None;
                }
                let mut lower: Vec<PathBuf> = list.split(':').map(PathBuf::from).collect();
                let upper = value("upperdir").map(PathBuf::from);
                Some(Self::Overlay {
                    writable: upper.is_some(),
                    upper: upper.unwrap_or_else(|| lower.remove(0)),
                    lower,
                    user: has("userxattr"),
                })
            }
            _ => None,
        }
    }

    /// Where a layer may be applied.
    pub fn target(self) -> Option<ApplyTarget> {
        match self {
            Self::Plain { dir, writable: true } => Some(ApplyTarget {
                dir,
                whiteouts: Whiteouts::Plain,
                lower: Vec::new(),
            }),
            Self::Overlay {
                upper,
                lower,
                writable: true,
                user: false,
            } => Some(ApplyTarget {
                dir: upper,
                whiteouts: Whiteouts::Overlay,
                lower,
            }),
            Self::Plain { .. } | Self::Overlay { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, options: &[&str]) -> Option<Shape> {
        Shape::read(&[Mount {
            kind: kind.into(),
            source: "/s".into(),
            target: String::new(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        }])
    }

    #[test]
    fn shapes_and_targets() {
        let bind = read("bind", &["rw", "rbind"]).unwrap();
        assert_eq!(bind.target().unwrap().dir, PathBuf::from("/s"));
        assert!(read("bind", &["ro", "rbind"]).unwrap().target().is_none());
        let overlay = read("overlay", &["workdir=/w", "upperdir=/u", "lowerdir=/b:/a"]).unwrap();
        let target = overlay.target().unwrap();
        assert_eq!(target.dir, PathBuf::from("/u"));
        assert_eq!(target.lower, [PathBuf::from("/b"), PathBuf::from("/a")]);
        let view = read("overlay", &["lowerdir=/b:/a", "index=off"]).unwrap();
        let Shape::Overlay { upper, lower, .. } = &view else {
            panic!("{view:?}")
        };
        assert_eq!((upper, lower), (&PathBuf::from("/b"), &vec![PathBuf::from("/a")]));
        assert!(view.target().is_none());
        assert!(
            read("overlay", &["upperdir=/u", "lowerdir=/a", "userxattr"])
                .unwrap()
                .target()
                .is_none()
        );
        assert_eq!(read("overlay", &["upperdir=/u"]), None);
        assert_eq!(read("overlay", &[r"lowerdir=/a\:b"]), None);
        assert_eq!(read("ext4", &["rw"]), None);
        assert_eq!(Shape::read(&[]), None);
    }
}
