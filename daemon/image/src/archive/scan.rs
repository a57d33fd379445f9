//! The first pass over an archive: members into the store, the few that describe it into memory.

use crate::blobs::Blobs;
use crate::compress::decoder;
use crate::error::{ImageError, Result};
use crate::progress::{ProgressSink, Status};
use crate::tarball::{Entry, Kind, TarReader};
use crate::unpack::Limits;
use gantry_core::content::{Ingest, IngestRequest};
use gantry_core::{Digest, ErrorKind, Labels};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// Largest describing document.
const MAX_DOCUMENT: u64 = 16 << 20;
/// Links followed from one name.
const MAX_LINKS: usize = 16;

/// A member that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub digest: Digest,
    pub size: u64,
}

/// What an archive holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub documents: BTreeMap<String, Vec<u8>>,
    members: BTreeMap<String, Member>,
    links: BTreeMap<String, String>,
}

impl Scan {
    /// Reads all of `source`.
    pub(super) fn of(source: impl Read, blobs: &Blobs, limits: &Limits, progress: &ProgressSink) -> Result<Self> {
        let (_, plain) = decoder(source).map_err(ImageError::io("read archive"))?;
        Self::of_tar(plain, blobs, limits, progress)
    }

    /// Reads all of a tar that is not compressed.
    pub(super) fn of_tar(source: impl Read, blobs: &Blobs, limits: &Limits, progress: &ProgressSink) -> Result<Self> {
        let mut tar = TarReader::new(source);
        let mut scan = Self::default();
        let mut entries = 0;
        let mut bytes: u64 = 0;
        while let Some(entry) = next(&mut tar, entries == 0)? {
            entries += 1;
            bytes = bytes.saturating_add(entry.size);
            let over = |limit, allowed| Err(ImageError::Limit { limit, allowed });
            if entries > limits.max_entries {
                return over("max-entries", limits.max_entries);
            }
            if bytes > limits.max_bytes {
                return over("max-bytes", limits.max_bytes);
            }
            scan.add(&entry, &mut tar, blobs, progress)?;
        }
        // What the sender still holds is read, so that it does not take our going for a failure.
        std::io::copy(&mut tar.into_inner(), &mut std::io::sink())
            .map_err(ImageError::io("read the end of the archive"))?;
        match entries {
            0 => Err(ImageError::NotAnArchive {
                detail: "it is empty".to_owned(),
            }),
            _ => Ok(scan),
        }
    }

    /// The member of this name, links followed.
    pub(super) fn member(&self, name: &str) -> Result<&Member> {
        let mut at = clean(name)?;
        let mut seen = BTreeSet::new();
        while let Some(next) = self.links.get(&at) {
            if !seen.insert(at.clone()) || seen.len() > MAX_LINKS {
                return Err(bad(format!("link \"{name}\" leads nowhere")));
            }
            at = next.clone();
        }
        self.members
            .get(&at)
            .ok_or_else(|| bad(format!("member \"{name}\" is missing")))
    }

    /// Whether a blob of this digest came with the archive.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.members
            .contains_key(&format!("blobs/{}/{}", digest.algorithm().name(), digest.hex()))
    }

    fn add<R: Read>(
        &mut self,
        entry: &Entry,
        tar: &mut TarReader<R>,
        blobs: &Blobs,
        progress: &ProgressSink,
    ) -> Result<()> {
        let name = match std::str::from_utf8(&entry.path) {
            Ok(text) => clean(text)?,
            Err(_) => return Err(bad(format!("member name \"{}\" is no text", entry.shown()))),
        };
        match entry.kind {
            Kind::File => {}
            Kind::Symlink | Kind::HardLink => {
                let link = String::from_utf8_lossy(&entry.link).into_owned();
                let above = match (entry.kind, name.rsplit_once('/')) {
                    (Kind::Symlink, Some((above, _))) => format!("{above}/"),
                    _ => String::new(),
                };
                self.links.insert(name, clean(&format!("{above}{link}"))?);
                return Ok(());
            }
            _ => return Ok(()),
        }
        if matches!(
            name.as_str(),
            "oci-layout" | "index.json" | "manifest.json" | "repositories"
        ) {
            if entry.size > MAX_DOCUMENT {
                return Err(ImageError::TooLarge {
                    what: format!("archive member \"{name}\""),
                    got: entry.size,
                    limit: MAX_DOCUMENT,
                });
            }
            let mut text = Vec::new();
            tar.reader()
                .read_to_end(&mut text)
                .map_err(ImageError::io(format!("read \"{name}\"")))?;
            self.documents.insert(name, text);
            return Ok(());
        }
        // Of the time before manifest.json; nothing refers to them.
        if name.ends_with("/VERSION") || name.ends_with("/json") {
            return Ok(());
        }
        let member = store(&name, entry, tar, blobs, progress)?;
        self.members.insert(name, member);
        Ok(())
    }
}

/// The first header tells whether it is a tar at all.
fn next<R: Read>(tar: &mut TarReader<R>, first: bool) -> Result<Option<Entry>> {
    tar.next().map_err(|error| match error {
        ImageError::BadTar { detail } if first => ImageError::NotAnArchive {
            detail: format!("it is no tar ({detail})"),
        },
        ImageError::Truncated { what } if first => ImageError::NotAnArchive {
            detail: format!("it is no tar (truncated {what})"),
        },
        other => other,
    })
}

fn store<R: Read>(
    name: &str,
    entry: &Entry,
    tar: &mut TarReader<R>,
    blobs: &Blobs,
    progress: &ProgressSink,
) -> Result<Member> {
    let expected = name.strip_prefix("blobs/").and_then(|rest| rest.split_once('/'));
    let expected: Option<Digest> = match expected {
        Some((algorithm, hex)) => Some(format!("{algorithm}:{hex}").parse()?),
        None => None,
    };
    let unique: u64 = rand::random();
    let request = IngestRequest {
        reference: format!("load-{unique:016x}"),
        total: entry.size,
        expected: expected.clone(),
        lease: blobs.lease.clone(),
        transient: true,
    };
    let mut ingest = match (blobs.content.ingest(&blobs.ns, request), expected.clone()) {
        (Ok(ingest), _) => ingest,
        (Err(error), Some(digest)) if error.kind() == ErrorKind::AlreadyExists => {
            let size = blobs.content.info(&blobs.ns, &digest)?.size;
            return Ok(Member { digest, size });
        }
        (Err(error), _) => return Err(error.into()),
    };
    // Shared from another namespace: the bytes are there already.
    let outcome = match ingest.status().offset == entry.size && entry.size > 0 {
        true => Ok(()),
        false => fill(name, entry, tar, &mut *ingest, progress),
    };
    let digest = ingest.digest();
    let outcome = outcome.and_then(|()| match expected {
        Some(expected) if expected != digest => Err(ImageError::WrongDigest {
            what: format!("archive member \"{name}\""),
            expected,
            got: digest.clone(),
        }),
        _ => Ok(()),
    });
    if let Err(error) = outcome {
        ingest.abort()?;
        return Err(error);
    }
    match ingest.commit(Some(entry.size), Some(&digest), Labels::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Member {
        digest,
        size: entry.size,
    })
}

fn fill<R: Read>(
    name: &str,
    entry: &Entry,
    tar: &mut TarReader<R>,
    ingest: &mut dyn Ingest,
    progress: &ProgressSink,
) -> Result<()> {
    const WORTH_TELLING: u64 = 256 << 10;
    let shown = shown(name);
    let tell = entry.size >= WORTH_TELLING;
    let mut done = 0;
    ingest.truncate(0)?;
    tar.content(entry, |_, bytes| {
        ingest.write(bytes)?;
        done += bytes.len() as u64;
        if tell {
            progress.count(&shown, Status::LoadingLayer, done, entry.size);
        }
        Ok(())
    })?;
    if tell {
        progress.tell(&shown, Status::LoadComplete);
    }
    Ok(())
}

/// Twelve digits of whatever names the layer.
fn shown(name: &str) -> String {
    let part = name.rsplit('/').find(|part| part.len() >= 32).unwrap_or(name);
    part.chars().take(12).collect()
}

/// A member's name without `.` and `..`; one that leads out of the archive is refused.
fn clean(name: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return Err(bad(format!("member \"{name}\" leads out of the archive"))),
            ".." => {}
            _ => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

pub(super) fn bad(detail: String) -> ImageError {
    ImageError::BadArchive { detail }
}
