//! Descriptors, manifests and indexes as they are on the wire (OCI image spec 1.1; Docker's v2 schema 2 has the same shape).

use crate::error::{ImageError, Result};
use crate::media;
use crate::platform::Platform;
use gantry_core::Digest;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Largest manifest or index in bytes, as registries themselves limit it.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest image config in bytes.
pub const MAX_CONFIG: u64 = 8 << 20;

/// A blob named by what it is, its digest and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            urls: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub config: Descriptor,
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest digest may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(Box<Manifest>),
    Index(Index),
}

/// Only the fields that say what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    media_type: Option<String>,
    config: Option<serde_json::Value>,
    layers: Option<serde_json::Value>,
    manifests: Option<serde_json::Value>,
}

impl Document {
    /// Parses `bytes`, which came under `media_type` ("" if unknown); `what` names them in errors.
    ///
    /// A document that could be read both ways, or that contradicts its announced type, is refused: two readers of one
    /// digest must never see two images.
    pub fn parse(media_type: &str, bytes: &[u8], what: &str) -> Result<Self> {
        let shape: Shape = serde_json::from_slice(bytes).map_err(|e| ImageError::parse(what, e))?;
        let own = shape.media_type.as_deref().unwrap_or("");
        if shape.schema_version == 1 || media::is_schema1(media_type) || media::is_schema1(own) {
            return Err(ImageError::Schema1 { what: what.to_owned() });
        }
        let as_manifest = shape.config.is_some() || shape.layers.is_some();
        if as_manifest && shape.manifests.is_some() {
            return Err(ImageError::parse(what, "it is both a manifest and an index"));
        }
        let said = if own.is_empty() { media_type } else { own };
        if !own.is_empty() && known(media_type) && own != media_type {
            let reason = format!("it says it is \"{own}\" but came as \"{media_type}\"");
            return Err(ImageError::parse(what, reason));
        }
        let fits = match as_manifest {
            true => media::is_manifest(said) || !known(said),
            false => media::is_index(said) || !known(said),
        };
        if !fits {
            return Err(ImageError::parse(
                what,
                format!("its content is not that of \"{said}\""),
            ));
        }
        match (as_manifest, shape.manifests.is_some()) {
            (true, _) => Ok(Self::Manifest(
                serde_json::from_slice(bytes).map_err(|e| ImageError::parse(what, e))?,
            )),
            (_, true) => Ok(Self::Index(
                serde_json::from_slice(bytes).map_err(|e| ImageError::parse(what, e))?,
            )),
            _ => Err(ImageError::MediaType {
                what: what.to_owned(),
                media_type: said.to_owned(),
            }),
        }
    }

    /// The media type to record for it when its source did not say.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(media::OCI_MANIFEST),
            Self::Index(index) => index.media_type.as_deref().unwrap_or(media::OCI_INDEX),
        }
    }
}

fn known(media_type: &str) -> bool {
    media::is_manifest(media_type) || media::is_index(media_type)
}

/// JSON `null` read as the empty value: Docker writes it for empty lists and maps.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(media_type: &str, text: &str) -> Result<Document> {
        Document::parse(media_type, text.replace("HEX", HEX).as_bytes(), "manifest x")
    }

    #[test]
    fn documents_are_known_by_content_and_type() {
        let manifest = r#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:HEX","size":2},"layers":null}"#;
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(parse("", manifest), Ok(Document::Manifest(_))));
        assert!(matches!(
            parse(media::DOCKER_MANIFEST, manifest),
            Ok(Document::Manifest(_))
        ));
        assert!(matches!(parse(media::OCI_INDEX, index), Ok(Document::Index(_))));
    }

    #[test]
    fn lying_documents_are_refused() {
        let schema1 = parse("", r#"{"schemaVersion":1,"fsLayers":[]}"#).unwrap_err();
        assert!(matches!(schema1, ImageError::Schema1 { .. }), "{schema1}");
        for (media_type, bad) in [
            ("", "{"),
            ("", "[]"),
            (media::OCI_MANIFEST, r#"{"schemaVersion":2,"manifests":[]}"#),
            (
                media::OCI_INDEX,
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
            ),
            (
                "",
                r#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{"mediaType":"c","digest":"sha256:HEX","size":2}}"#,
            ),
            (
                "",
                r#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:HEX","size":-2},"layers":[]}"#,
            ),
            (
                "",
                r#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:../../x","size":2},"layers":[]}"#,
            ),
        ] {
            let error = parse(media_type, bad).unwrap_err();
            assert!(error.to_string().contains("manifest x"), "{bad}: {error}");
        }
        assert!(matches!(
            parse("text/html", r#"{"a":1}"#),
            Err(ImageError::MediaType { .. })
        ));
    }
}
