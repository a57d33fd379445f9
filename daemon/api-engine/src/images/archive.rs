//! Archives: load, save and import.

use crate::status::{Answer, finish, refuse};
use crate::stream::{Outgoing, fallible, incoming};
use gantry_core::Error;
use gantry_engine::{Engine, ImportImage, LoadEvent};
use gantry_proto::gantry::v1 as wire;
use tonic::{Status, Streaming};
use wire::import_request::Part;

pub async fn load(engine: &Engine, messages: Streaming<wire::LoadRequest>) -> Answer<Outgoing<wire::LoadProgress>> {
    let archive = incoming(messages, |message| Some(message.chunk));
    Ok(fallible(engine.image_load(archive), load_event))
}

pub async fn save(engine: &Engine, names: Vec<String>) -> Answer<Outgoing<wire::SaveChunk>> {
    if names.is_empty() {
        return Err(refuse(Error::invalid("images: empty")));
    }
    let archive = engine.image_save(&names).await.map_err(refuse)?;
    Ok(fallible(archive, |chunk| wire::SaveChunk { chunk: chunk.to_vec() }))
}

pub async fn import(engine: Engine, mut messages: Streaming<wire::ImportRequest>) -> Answer<wire::ImportResponse> {
    let header = header(messages.message().await?)?;
    let tar = incoming(messages, |message| match message.part {
        Some(Part::Tar(bytes)) => Some(bytes),
        Some(Part::Header(_)) => None,
        None => Some(Vec::new()),
    });
    let wire::ImportHeader {
        reference,
        message,
        changes,
        platform,
    } = header;
    finish(async move {
        let id = engine
            .image_import(
                ImportImage {
                    reference,
                    message,
                    changes,
                    platform,
                },
                tar,
            )
            .await?;
        Ok(wire::ImportResponse { id: id.to_string() })
    })
    .await
}

fn header(first: Option<wire::ImportRequest>) -> Result<wire::ImportHeader, Status> {
    match first.and_then(|message| message.part) {
        Some(Part::Header(header)) => Ok(header),
        Some(Part::Tar(_)) | None => Err(refuse(Error::invalid("header: the first message must carry it"))),
    }
}

fn load_event(event: LoadEvent) -> wire::LoadProgress {
    match event {
        LoadEvent::Step(step) => wire::LoadProgress {
            id: step.id,
            status: step.status.to_string(),
            current: step.current,
            total: step.total,
            ..Default::default()
        },
        LoadEvent::Loaded { reference, id } => wire::LoadProgress {
            loaded_reference: reference.unwrap_or_default(),
            loaded_id: id.to_string(),
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_begins_with_its_header() {
        assert!(header(None).unwrap_err().message().starts_with("header: "));
        let part = Some(Part::Tar(vec![1]));
        assert!(header(Some(wire::ImportRequest { part })).is_err());
        let part = Some(Part::Header(wire::ImportHeader {
            reference: "a".into(),
            ..Default::default()
        }));
        assert_eq!(header(Some(wire::ImportRequest { part })).unwrap().reference, "a");
    }
}
