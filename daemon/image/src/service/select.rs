//! Which parts of a target are wanted: of all platforms, or of some.

use super::resolve::no_platform;
use crate::descriptor::{Descriptor, Index};
use crate::error::Result;
use crate::platform::Platform;
use gantry_core::Digest;

/// The default wants everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In order of preference, each exactly; empty = all there are.
    pub platforms: Vec<Platform>,
    /// Manifest and config of the others, too.
    pub all_metadata: bool,
    /// Most images of one index, 0 = all.
    pub limit: usize,
}

impl Wanted {
    /// Whether an entry is for a platform that is wanted. One that is for none is for all.
    pub(crate) fn matches(&self, entry: &Descriptor) -> bool {
        self.platforms.is_empty() || entry.platform.is_none() || self.rank(entry) < self.platforms.len()
    }

    /// Its place in the order of preference.
    pub(crate) fn rank(&self, entry: &Descriptor) -> usize {
        let Some(platform) = &entry.platform else {
            return usize::MAX;
        };
        let platform = platform.clone().normalised();
        let is = |wanted: &Platform| same(&wanted.clone().normalised(), &platform);
        self.platforms.iter().position(is).unwrap_or(self.platforms.len())
    }

    /// The entries of an index to go on with. None at all is an error.
    pub(crate) fn entries(&self, digest: &Digest, index: &Index) -> Result<Vec<Descriptor>> {
        let kept = index
            .manifests
            .iter()
            .filter(|one| self.all_metadata || self.matches(one));
        let mut kept: Vec<Descriptor> = kept.cloned().collect();
        if let (Some(first), false) = (self.platforms.first(), kept.iter().any(|one| self.matches(one))) {
            return Err(no_platform(digest, first, &index.manifests));
        }
        if self.limit > 0 {
            if !self.platforms.is_empty() {
                kept.sort_by_key(|one| self.rank(one));
            }
            kept.truncate(self.limit);
        }
        Ok(kept)
    }
}

fn same(one: &Platform, other: &Platform) -> bool {
    (&one.os, &one.architecture, &one.variant) == (&other.os, &other.architecture, &other.variant)
        && one
            .os_version
            .as_ref()
            .is_none_or(|version| Some(version) == other.os_version.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let digest = |n: usize| format!("sha256:{n:064x}").parse().unwrap();
        let entry = |(n, name): (usize, &&str)| Descriptor {
            platform: (!name.is_empty()).then(|| Platform::parse(name).unwrap()),
            ..Descriptor::new("m", digest(n), n as u64)
        };
        Index {
            schema_version: 2,
            media_type: None,
            manifests: platforms.iter().enumerate().map(entry).collect(),
            annotations: Default::default(),
        }
    }

    #[test]
    fn platforms_choose_limits_cut_and_metadata_stays() {
        let all = index(&["linux/arm64", "linux/amd64", "", "linux/s390x"]);
        let digest: Digest = format!("sha256:{}", "f".repeat(64)).parse().unwrap();
        for (platforms, all_metadata, limit, want) in [
            (vec![], false, 0, vec![0, 1, 2, 3]),
            (vec![], false, 2, vec![0, 1]),
            (vec!["linux/amd64"], false, 0, vec![1, 2]),
            (vec!["linux/amd64"], true, 0, vec![0, 1, 2, 3]),
            (vec!["linux/s390x", "linux/arm64"], false, 0, vec![0, 2, 3]),
            (vec!["linux/s390x", "linux/arm64"], false, 2, vec![3, 0]),
        ] {
            let wanted = Wanted {
                platforms: platforms.iter().map(|name| Platform::parse(name).unwrap()).collect(),
                all_metadata,
                limit,
            };
            let kept = wanted.entries(&digest, &all).unwrap();
            let kept: Vec<u64> = kept.iter().map(|one| one.size).collect();
            assert_eq!(kept, want, "{platforms:?} {all_metadata} {limit}");
        }
        let none = Wanted {
            platforms: vec![Platform::parse("linux/riscv64").unwrap()],
            ..Wanted::default()
        };
        let error = none.entries(&digest, &index(&["linux/amd64"])).unwrap_err();
        assert!(error.to_string().contains("linux/riscv64"), "{error}");
    }
}
