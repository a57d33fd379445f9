//! Platforms: what an image is for, what this host runs, and which of an index's images fits best.

use crate::descriptor::{Descriptor, nullable};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Architectures in Go's words and in others that mean the same.
const ARCHITECTURES: &[&str] = &[
    "386",
    "aarch64",
    "amd64",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "armel",
    "armhf",
    "i386",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "x86-64",
    "x86_64",
];

/// OCI image spec 1.1, "platform" of an index entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
}

impl Platform {
    /// What the daemon was built for, in Go's words.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self::new("linux", architecture, variant)
    }

    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.map(str::to_owned),
            ..Self::default()
        }
        .normalised()
    }

    /// `os/architecture[/variant]`, or an architecture alone on linux.
    pub fn parse(text: &str) -> gantry_core::Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let sound = parts.iter().all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        });
        match parts.as_slice() {
            [word] => match word.to_ascii_lowercase().as_str() {
                "linux" => Ok(Self::host()),
                other if ARCHITECTURES.contains(&other) => Ok(Self::new("linux", word, None)),
                _ => Err(gantry_core::Error::invalid(format!(
                    "\"{word}\": unknown operating system or architecture: expected os/architecture[/variant]"
                ))),
            },
            [os, architecture] if sound => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if sound => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(gantry_core::Error::invalid(format!(
                "invalid platform \"{text}\": expected os/architecture[/variant]"
            ))),
        }
    }

    /// Other spellings of one platform made equal (containerd's `platforms.Normalize`).
    pub fn normalised(mut self) -> Self {
        self.os = self.os.to_ascii_lowercase();
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self
            .variant
            .take()
            .map(|v| v.to_ascii_lowercase())
            .filter(|v| !v.is_empty());
        let variant = variant.as_deref();
        let (architecture, variant) = match (architecture.as_str(), variant) {
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("i386" | "386", _) => ("386", None),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", Some("v8")),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", Some("7") | None) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            other => other,
        };
        self.variant = variant.map(str::to_owned);
        self.architecture = architecture.to_owned();
        self
    }

    /// How well an image for `image` runs here: lower is better, `None` not at all.
    fn distance(&self, image: &Platform) -> Option<u32> {
        let image = image.clone().normalised();
        if image.os != self.os {
            return None;
        }
        let level = |p: &Platform| -> Option<u32> { p.variant.as_deref()?.strip_prefix('v')?.parse().ok() };
        match (self.architecture.as_str(), image.architecture.as_str()) {
            (mine, theirs) if mine == theirs && self.variant == image.variant => Some(0),
            ("amd64", "amd64") | ("arm", "arm") | ("arm64", "arm64") => {
                let (mine, theirs) = (level(self).unwrap_or(1), level(&image).unwrap_or(1));
                (theirs <= mine).then(|| mine - theirs)
            }
            (mine, theirs) if mine == theirs => image.variant.is_none().then_some(1),
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => level(&image).filter(|l| *l <= 8).map(|l| 100 + 8 - l),
            _ => None,
        }
    }

    pub fn fits(&self, image: &Platform) -> bool {
        self.distance(image).is_some()
    }

    /// The best of an index's entries; an entry without platform fits only if nothing else does. Attestations never do.
    pub fn pick<'a>(&self, entries: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let score = |entry: &Descriptor| match &entry.platform {
            _ if entry.annotations.contains_key("vnd.docker.reference.type") => None,
            Some(platform) if platform.os.is_empty() && platform.architecture.is_empty() => Some(1000),
            Some(platform) => self.distance(platform),
            None => Some(1000),
        };
        entries
            .iter()
            .filter_map(|entry| Some((score(entry)?, entry)))
            .min_by_key(|(score, _)| *score)
            .map(|(_, entry)| entry)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<&str>, size: u64) -> Descriptor {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        Descriptor {
            platform: platform.map(|p| Platform::parse(p).unwrap()),
            ..Descriptor::new("m", digest, size)
        }
    }

    #[test]
    fn the_best_fit_is_picked() {
        for (host, entries, best) in [
            ("linux/amd64", vec![Some("linux/arm64"), Some("linux/amd64")], Some(1)),
            ("linux/amd64", vec![Some("linux/386"), Some("linux/amd64")], Some(1)),
            ("linux/amd64", vec![Some("linux/386"), Some("linux/s390x")], Some(0)),
            ("linux/amd64", vec![Some("linux/amd64/v3"), Some("linux/arm64")], None),
            ("linux/amd64", vec![Some("windows/amd64"), None], Some(1)),
            ("linux/arm64", vec![Some("linux/arm/v6"), Some("linux/arm/v7")], Some(1)),
            (
                "linux/arm64",
                vec![Some("linux/arm/v7"), Some("linux/arm64/v8")],
                Some(1),
            ),
            (
                "linux/arm/v6",
                vec![Some("linux/arm/v7"), Some("linux/arm/v5")],
                Some(1),
            ),
            ("linux/riscv64", vec![Some("linux/amd64")], None),
        ] {
            let entries: Vec<_> = entries
                .into_iter()
                .enumerate()
                .map(|(i, p)| entry(p, i as u64))
                .collect();
            let picked = Platform::parse(host).unwrap().pick(&entries).map(|e| e.size);
            assert_eq!(picked, best, "{host} of {entries:?}");
        }
    }

    #[test]
    fn spellings_are_one() {
        for (given, want) in [
            ("x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("Linux/ARM/5", "linux/arm/v5"),
        ] {
            assert_eq!(Platform::parse(given).unwrap().to_string(), want);
        }
        for bad in ["", "a/b/c/d", "linux/", "li nux/x"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }
}
