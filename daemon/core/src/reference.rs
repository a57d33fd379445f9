//! Image references as Docker normalises them (grammar: distribution's `reference` package).
//!
//! `busybox` is `docker.io/library/busybox`, with `:latest` where a tag is needed. What people see is the familiar form
//! again. A word that can only be an id, or could be one, is told apart by [`ImageTerm`].

use crate::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

pub const DEFAULT_DOMAIN: &str = "docker.io";
pub const DEFAULT_TAG: &str = "latest";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
/// Longest `domain/path` in bytes.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A well-formed, normalised name of an image, with an optional tag and digest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises. No tag is invented: see [`Reference::or_latest`].
    pub fn parse(text: &str) -> Result<Self> {
        if is_hex(text) && text.len() == 64 {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| malformed(text))?)),
            None => (text, None),
        };
        let (domain, remainder) = split_domain(rest);
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder, None),
        };
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name must be lowercase: \"{path}\""
            )));
        }
        let path = match domain == DEFAULT_DOMAIN && !path.contains('/') {
            true => format!("{OFFICIAL}{path}"),
            false => path.to_owned(),
        };
        if !is_domain(&domain) || !is_path(&path) || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(malformed(text));
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name must not be more than {MAX_NAME} characters: \"{domain}/{path}\""
            )));
        }
        Ok(Self {
            domain,
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry's host and port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `docker.io/library/busybox`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as people type it: `busybox`, `localhost:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            // `library/a/b` shortened to `a/b` would lead elsewhere.
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The familiar name with tag and digest.
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    /// Adds `:latest` when there is neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    pub fn with_tag(mut self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(Error::invalid(format!("invalid tag format: \"{tag}\"")));
        }
        self.tag = Some(tag.to_owned());
        Ok(self)
    }

    /// The same repository by digest alone: `docker.io/library/busybox@sha256:...`.
    pub fn at(mut self, digest: Digest) -> Self {
        self.tag = None;
        self.digest = Some(digest);
        self
    }

    /// The repository alone.
    pub fn untagged(mut self) -> Self {
        self.tag = None;
        self.digest = None;
        self
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|d| format!("@{d}")).unwrap_or_default();
        tag + &digest
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

/// The normalised form: `docker.io/library/busybox:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a person may mean by a word that names an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageTerm {
    /// Only an id: `sha256:<hex>` whole or cut short, or 64 hex digits. Holds the hex part.
    Id(String),
    /// Only a name.
    Name(Reference),
    /// A name, or failing that the beginning of an id (lower-case hex, 1 to 63 digits).
    NameOrId(Reference, String),
}

impl ImageTerm {
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(hex) = text.strip_prefix("sha256:")
            && is_hex(hex)
            && hex.len() <= 64
        {
            return Ok(Self::Id(hex.to_owned()));
        }
        if is_hex(text) && text.len() == 64 {
            return Ok(Self::Id(text.to_owned()));
        }
        let name = Reference::parse(text)?;
        Ok(match is_hex(text) && text.len() < 64 {
            true => Self::NameOrId(name, text.to_owned()),
            false => Self::Name(name),
        })
    }
}

fn malformed(text: &str) -> Error {
    Error::invalid(format!("invalid reference format: \"{text}\""))
}

/// The part before the first `/` is a registry if it looks like a host: a dot, a port, `localhost` or a capital.
fn split_domain(text: &str) -> (String, &str) {
    let default = (DEFAULT_DOMAIN.to_owned(), text);
    let Some((first, rest)) = text.split_once('/') else {
        return default;
    };
    let host_like = first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase());
    match first {
        LEGACY_DOMAIN => (DEFAULT_DOMAIN.to_owned(), rest),
        _ if host_like => (first.to_owned(), rest),
        _ => default,
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, "")) => return is_v6(v6),
            Some((v6, port)) if is_v6(v6) => (None, port.strip_prefix(':')),
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), Some("0")),
        },
    };
    let port_ok = port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    port_ok && host.is_none_or(|host| host.split('.').all(is_domain_part))
}

fn is_v6(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

fn is_domain_part(part: &str) -> bool {
    let inner = part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_part)
}

/// Runs of `[a-z0-9]` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let word = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(word) || !bytes.last().is_some_and(word) {
        return false;
    }
    bytes
        .split(word)
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= MAX_TAG && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised_and_made_familiar() {
        let at = format!("busybox@sha256:{HEX}");
        let both = format!("busybox:1@sha256:{HEX}");
        for (given, canonical, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
            ("library/busybox:a", "docker.io/library/busybox:a", "busybox:a"),
            ("me/app", "docker.io/me/app", "me/app"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000/x:t", "localhost:5000/x:t", "localhost:5000/x:t"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b"),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
            ("[2001:db8::1]/x", "[2001:db8::1]/x", "[2001:db8::1]/x"),
            (
                "registry.k8s.io/pause:3.10",
                "registry.k8s.io/pause:3.10",
                "registry.k8s.io/pause:3.10",
            ),
            ("Host/x", "Host/x", "Host/x"),
            ("a__b---c.d_e", "docker.io/library/a__b---c.d_e", "a__b---c.d_e"),
            (&at, &format!("docker.io/library/{at}"), &at),
            (&both, &format!("docker.io/library/{both}"), &both),
        ] {
            let reference = Reference::parse(given).unwrap_or_else(|e| panic!("{given}: {e}"));
            assert_eq!(reference.to_string(), canonical, "{given}");
            assert_eq!(reference.familiar(), familiar, "{given}");
            assert_eq!(Reference::parse(canonical).unwrap(), reference, "{given} again");
            assert_eq!(Reference::parse(familiar).unwrap(), reference, "{given} familiar");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let long = "a".repeat(256);
        let tag = format!("a:{}", "t".repeat(129));
        for bad in [
            "",
            ":",
            ":tag",
            "a:",
            "a:b:c",
            "a b",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a@",
            "a@b",
            "a@sha256:12",
            "a:-t",
            "http://a/b",
            "https://a",
            "a/b:5000/c",
            "host:port/x",
            "[::1/x",
            "[zz]:1/x",
            "-h.com/x",
            "ä",
            "a:t/b",
            &long,
            &tag,
        ] {
            let error = Reference::parse(bad).expect_err(bad);
            assert!(
                error.message().starts_with("invalid reference format"),
                "{bad}: {error}"
            );
        }
        let error = Reference::parse("me/App:1").unwrap_err();
        assert!(error.message().contains("repository name must be lowercase"), "{error}");
        assert!(
            Reference::parse(HEX)
                .unwrap_err()
                .message()
                .contains("64-byte hexadecimal")
        );
    }

    #[test]
    fn tags_and_digests_are_put_and_taken() {
        let plain = Reference::parse("busybox").unwrap();
        assert_eq!(plain.clone().or_latest().familiar(), "busybox:latest");
        assert_eq!(
            plain.clone().with_tag("v1").unwrap().or_latest().familiar(),
            "busybox:v1"
        );
        assert!(plain.clone().with_tag("a b").is_err());
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        let by_digest = plain.clone().or_latest().at(digest);
        assert_eq!(
            by_digest.clone().or_latest().familiar(),
            format!("busybox@sha256:{HEX}")
        );
        assert_eq!(by_digest.untagged(), plain);
    }

    #[test]
    fn ids_are_told_from_names() {
        let name = |text: &str| Reference::parse(text).unwrap();
        for (given, term) in [
            (HEX.to_owned(), ImageTerm::Id(HEX.into())),
            (format!("sha256:{HEX}"), ImageTerm::Id(HEX.into())),
            ("sha256:e3b0".to_owned(), ImageTerm::Id("e3b0".into())),
            (
                "e3b0c442".to_owned(),
                ImageTerm::NameOrId(name("e3b0c442"), "e3b0c442".into()),
            ),
            ("busybox".to_owned(), ImageTerm::Name(name("busybox"))),
            ("cafe:1".to_owned(), ImageTerm::Name(name("cafe:1"))),
            ("sha256:zz".to_owned(), ImageTerm::Name(name("sha256:zz"))),
        ] {
            assert_eq!(ImageTerm::parse(&given).unwrap(), term, "{given}");
        }
        assert!(ImageTerm::parse("a b").is_err());
    }
}
