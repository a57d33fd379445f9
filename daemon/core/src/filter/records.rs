//! The fields of the records that core knows, by containerd's names for them.

use super::{Adaptor, label};
use crate::{
    content::{BlobInfo, IngestStatus},
    snapshot::{SnapshotInfo, SnapshotKind},
};
use std::borrow::Cow;

impl Adaptor for BlobInfo {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["digest", ..] => Some(self.digest.to_string().into()),
            ["labels", rest @ ..] => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for IngestStatus {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["ref", ..] => Some(self.reference.as_str().into()),
            _ => None,
        }
    }
}

impl Adaptor for SnapshotInfo {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["kind", ..] => Some(
                match self.kind {
                    SnapshotKind::View => "view",
                    SnapshotKind::Active => "active",
                    SnapshotKind::Committed => "committed",
                }
                .into(),
            ),
            ["name", ..] => Some(self.name.as_str().into()),
            ["parent", ..] => Some(self.parent.as_deref().unwrap_or_default().into()),
            ["labels", rest @ ..] => label(&self.labels, rest),
            _ => None,
        }
    }
}
