//! The names that images get on their way into the store (containerd core/transfer/image, `Store`).

use chrono::{SecondsFormat, Utc};
use gantry_core::Labels;
use gantry_core::gc::LABEL_EXPIRE;
use gantry_image::Descriptor;

/// Where archives say what an image is called: containerd's whole name, and OCI's, which may be a tag alone.
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Goes with the image that bears this name.
const BACK_REFERENCE: &str = "containerd.io/gc.bref.image";

/// More names than the one, or where names of an archive belong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MoreNames {
    /// A whole name, or the beginning of names.
    pub name: String,
    pub is_prefix: bool,
    /// A whole name that an archive gives is taken even if it does not begin like this one.
    pub overwrite: bool,
    /// Also `name@digest`.
    pub add_digest: bool,
    /// Not for an image that has got a name already.
    pub skip_named_digest: bool,
}

impl MoreNames {
    fn with_digest(&self, target: &Descriptor) -> String {
        format!("{}@{}", self.name, target.digest)
    }

    /// The name that an archive gives an image, if it is to have it.
    fn of_archive(&self, image: &Descriptor) -> Option<String> {
        if let Some(full) = image.annotations.get(FULL_NAME).filter(|name| !name.is_empty()) {
            // As it is, or not at all.
            return self.translated(full).filter(|name| name == full);
        }
        let short = image.annotations.get(REF_NAME).filter(|name| !name.is_empty())?;
        self.translated(short)
    }

    /// A tag alone is put behind the prefix; a whole name must begin with it, unless any will do.
    fn translated(&self, name: &str) -> Option<String> {
        if self.name.is_empty() {
            return None;
        }
        if !name.contains(['/', ':', '@']) {
            return Some(format!("{}:{name}", self.name));
        }
        let begins = name
            .strip_prefix(&self.name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
        (self.overwrite || begins).then(|| name.to_owned())
    }
}

/// A name with the labels that its image gets.
pub type Named = (String, Labels);

/// The names of what was asked for as a whole. A prefix is for what archives name alone.
pub fn of_target(name: &str, labels: &Labels, more: &[MoreNames], target: &Descriptor) -> Vec<Named> {
    let mut names = Vec::new();
    if !name.is_empty() {
        names.push((name.to_owned(), labels.clone()));
    }
    for one in more.iter().filter(|one| !one.is_prefix) {
        let whole = match one.add_digest {
            true => one.with_digest(target),
            false => one.name.clone(),
        };
        names.push((whole, of_extra(name, labels)));
    }
    names
}

/// The names of one image of an archive.
pub fn of_image(name: &str, labels: &Labels, more: &[MoreNames], image: &Descriptor) -> Vec<Named> {
    let mut names = Vec::new();
    for one in more.iter().filter(|one| one.is_prefix) {
        let given = one.of_archive(image);
        let digested = one.add_digest && (given.is_none() || !one.skip_named_digest);
        let digested = digested.then(|| one.with_digest(image));
        names.extend(
            given
                .into_iter()
                .chain(digested)
                .map(|one| (one, of_extra(name, labels))),
        );
    }
    names
}

/// Beside a first name, the others live as long as it does.
fn of_extra(first: &str, labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    if !first.is_empty() {
        labels.insert(BACK_REFERENCE.to_owned(), first.to_owned());
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        labels.insert(LABEL_EXPIRE.to_owned(), now);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(full: &str, short: &str) -> Descriptor {
        let mut image = Descriptor::new("m", format!("sha256:{}", "0".repeat(64)).parse().unwrap(), 1);
        for (key, name) in [(FULL_NAME, full), (REF_NAME, short)] {
            if !name.is_empty() {
                image.annotations.insert(key.to_owned(), name.to_owned());
            }
        }
        image
    }

    fn prefix(name: &str, overwrite: bool) -> MoreNames {
        MoreNames {
            name: name.to_owned(),
            is_prefix: true,
            overwrite,
            ..MoreNames::default()
        }
    }

    #[test]
    fn an_archives_names_are_taken_as_they_are_wanted() {
        let whole = |one: &MoreNames, full: &str, short: &str| one.of_archive(&image(full, short));
        let (strict, any) = (
            prefix("docker.io/library/a", false),
            prefix("docker.io/library/a", true),
        );
        for (one, full, short, want) in [
            (&strict, "docker.io/library/a:1", "1", Some("docker.io/library/a:1")),
            (&strict, "docker.io/library/ab:1", "1", None),
            (&any, "docker.io/library/b:1", "1", Some("docker.io/library/b:1")),
            (&strict, "", "1", Some("docker.io/library/a:1")),
            (&strict, "", "other:1", None),
            (&any, "", "other:1", Some("other:1")),
            // A whole name that is a tag alone is none.
            (&strict, "x", "1", None),
            (&strict, "", "", None),
        ] {
            assert_eq!(whole(one, full, short).as_deref(), want, "{full:?} {short:?}");
        }
    }

    #[test]
    fn digests_are_added_where_that_is_said() {
        let digest = "sha256:".to_owned() + &"0".repeat(64);
        let names = |more: MoreNames, image: &Descriptor| -> Vec<String> {
            let found = of_image("", &Labels::new(), &[more], image);
            found.into_iter().map(|(name, _)| name).collect()
        };
        let with = |skip| MoreNames {
            add_digest: true,
            skip_named_digest: skip,
            ..prefix("a", false)
        };
        assert_eq!(
            names(with(false), &image("", "1")),
            ["a:1".to_owned(), format!("a@{digest}")]
        );
        assert_eq!(names(with(true), &image("", "1")), ["a:1"]);
        assert_eq!(names(with(true), &image("", "")), [format!("a@{digest}")]);
        let target = image("", "");
        let exact = |name: &str, add_digest| MoreNames {
            name: name.to_owned(),
            add_digest,
            ..MoreNames::default()
        };
        let all = [prefix("p", false), with(true), exact("a", true), exact("exact", false)];
        let found = of_target("first", &Labels::new(), &all, &target);
        let (names, labels): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        assert_eq!(names, ["first".to_owned(), format!("a@{digest}"), "exact".to_owned()]);
        assert!(labels[0].is_empty());
        assert_eq!(labels[1].get(BACK_REFERENCE).map(String::as_str), Some("first"));
        assert!(labels[2].contains_key(LABEL_EXPIRE));
        assert!(of_target("", &Labels::new(), &[prefix("p", true)], &target).is_empty());
    }
}
