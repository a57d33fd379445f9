//! Images on the move: pull and import (`/images/create`), load, save.

use crate::answer::{self, Answer, Failure};
use crate::auth;
use crate::call::Call;
use crate::progress;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use gantry_core::reference::Reference;
use gantry_engine::{ImportImage, LoadEvent, PullEvent, PullImage};
use gantry_image::progress::Status;
use http::StatusCode;
use std::io;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub async fn create(call: Call) -> Answer {
    let (image, source) = (call.query.text("fromImage"), call.query.text("fromSrc"));
    match (image.is_empty(), source.is_empty()) {
        (false, _) => pull(call).await,
        (true, false) => import(call).await,
        (true, true) => Err(Failure::bad(
            "one of the parameters fromImage and fromSrc must be given",
        )),
    }
}

/// A name with a tag, a digest, or all tags if there is neither. What `tag` says takes the place of what the name says.
fn reference(image: &str, tag: &str) -> Result<(String, bool), Failure> {
    let image = image.trim();
    // So old clients ask for all tags.
    let image = image.strip_suffix(':').unwrap_or(image);
    let given = Reference::parse(image)?;
    let name = match tag {
        "" => image.to_owned(),
        digest if digest.contains(':') => format!("{}@{digest}", given.familiar_name()),
        tag => {
            let tagged = given.with_tag(tag).map_err(|_| Failure::bad("invalid tag format"))?;
            tagged.familiar()
        }
    };
    let parsed = Reference::parse(&name)?;
    let all = parsed.tag().is_none() && parsed.digest().is_none();
    Ok((name, all))
}

async fn pull(call: Call) -> Answer {
    let (name, all_tags) = reference(call.query.text("fromImage"), call.query.text("tag"))?;
    let auth = auth::read(call.header("x-registry-auth"));
    let request = PullImage {
        reference: name.clone(),
        platform: call.query.text("platform").to_owned(),
        all_tags,
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
    };
    let events = match call.engine().image_pull(request).await {
        Ok(events) => events,
        Err(error) => return Err(as_docker_says(&name, error.into())),
    };
    let opening =
        |event: &PullEvent| matches!(event, PullEvent::Step(step) if matches!(step.status, Status::PullingFrom(_)));
    streamed(events, opening, |event| match event {
        PullEvent::Step(step) => Some(progress::step(&step)),
        PullEvent::Done(pulled) => {
            let familiar = Reference::parse(&pulled.reference).map(|reference| reference.familiar());
            let familiar = familiar.unwrap_or(pulled.reference);
            Some(progress::status(match pulled.up_to_date {
                true => format!("Status: Image is up to date for {familiar}"),
                false => format!("Status: Downloaded newer image for {familiar}"),
            }))
        }
    })
    .await
    .map_err(|failure| as_docker_says(&name, failure))
}

/// A registry's refusal in the words that clients look for. Whether there is a repository that one may not see, nobody is told.
fn as_docker_says(name: &str, failure: Failure) -> Failure {
    let because = |words: &str| failure.message.split_once(words).map(|(_, why)| why);
    if failure.status == StatusCode::NOT_FOUND
        && let Some((missing, why)) = failure.message.split_once(" not found in its registry: ")
    {
        let words = format!("manifest for {missing} not found: manifest unknown: {why}");
        return Failure::new(StatusCode::NOT_FOUND, words);
    }
    if failure.status == StatusCode::FORBIDDEN
        && let Some(why) = because(", repository does not exist or may require login: ")
    {
        let repository = Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.familiar_name());
        let words = format!(
            "pull access denied for {repository}, repository does not exist or may require 'docker login': {why}"
        );
        return Failure::new(StatusCode::NOT_FOUND, words);
    }
    failure
}

/// What a channel tells, a line each. The first that tells more than an opening is waited for, so that a failure before it has a status.
async fn streamed<T: Send + 'static>(
    mut events: mpsc::Receiver<gantry_core::Result<T>>,
    opening: impl Fn(&T) -> bool,
    line: impl Fn(T) -> Option<Bytes> + Send + 'static,
) -> Answer {
    let mut first = Vec::new();
    while let Some(event) = events.recv().await.transpose()? {
        let more = opening(&event);
        first.push(Ok(event));
        if !more {
            break;
        }
    }
    let lines = futures::stream::iter(first).chain(ReceiverStream::new(events));
    Ok(answer::stream(answer::JSON, written(lines, line)))
}

fn written<T: Send + 'static>(
    events: impl Stream<Item = gantry_core::Result<T>> + Send + 'static,
    line: impl Fn(T) -> Option<Bytes> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    events.filter_map(move |event| {
        let bytes = match event {
            Ok(event) => line(event),
            Err(error) => Some(progress::failure(&Failure::from(error))),
        };
        futures::future::ready(bytes.map(Ok))
    })
}

async fn import(call: Call) -> Answer {
    let source = call.query.text("fromSrc");
    if source != "-" {
        return Err(Failure::unbuilt(&format!("importing from the address {source}")));
    }
    let (repository, tag) = (call.query.text("repo"), call.query.text("tag"));
    let mut reference = String::new();
    if !repository.is_empty() {
        let parsed = Reference::parse(repository)?;
        if parsed.digest().is_some() {
            return Err(Failure::bad("cannot import digest reference"));
        }
        let tagged = if tag.is_empty() { parsed } else { parsed.with_tag(tag)? };
        reference = tagged.or_latest().to_string();
    }
    let message = match call.query.text("message") {
        "" => "Imported from -".to_owned(),
        message => message.to_owned(),
    };
    let request = ImportImage {
        reference,
        message,
        changes: call.query.all("changes"),
        platform: call.query.text("platform").to_owned(),
    };
    let engine = call.engine().clone();
    let id = engine.image_import(request, call.chunks()).await?;
    let said = progress::status(id.to_string());
    Ok(answer::stream(
        answer::JSON,
        futures::stream::once(async move { Ok(said) }),
    ))
}

pub async fn load(call: Call) -> Answer {
    let quiet = call.query.flag("quiet");
    let engine = call.engine().clone();
    let events = ReceiverStream::new(engine.image_load(call.chunks()));
    let mut lines = Box::pin(written(events, move |event| match event {
        LoadEvent::Step(_) if quiet => None,
        LoadEvent::Step(step) => Some(progress::step(&step)),
        LoadEvent::Loaded {
            reference: Some(name), ..
        } => Some(progress::text(format!("Loaded image: {name}\n"))),
        LoadEvent::Loaded { reference: None, id } => Some(progress::text(format!("Loaded image ID: {id}\n"))),
    }));
    if quiet {
        // Who wants to hear nothing of it takes the answer's head for the end.
        let all: Vec<_> = lines.collect().await;
        return Ok(answer::stream(answer::JSON, futures::stream::iter(all)));
    }
    let first = futures::stream::iter(lines.next().await);
    Ok(answer::stream(answer::JSON, first.chain(lines)))
}

pub async fn save(call: Call) -> Answer {
    let names = match call.name() {
        "" => call.query.all("names"),
        name => vec![name.to_owned()],
    };
    if names.is_empty() {
        return Err(Failure::bad("no images to save: give their names"));
    }
    let tar = call.engine().image_save(&names).await?;
    answer::tar(tar).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_registries_are_said_as_docker_says_them() {
        let said = |status, message: &str| {
            let failure = as_docker_says("quay.io/a/b:1", Failure::new(status, message));
            (failure.status, failure.message)
        };
        let missing = "quay.io/a/b:1 not found in its registry: manifest 1 of a/b: no such";
        let words = "manifest for quay.io/a/b:1 not found: manifest unknown: manifest 1 of a/b: no such";
        assert_eq!(
            said(StatusCode::NOT_FOUND, missing),
            (StatusCode::NOT_FOUND, words.to_owned())
        );
        let denied = "pull access denied for quay.io/a/b:1, repository does not exist or may require login: no";
        let words = "pull access denied for quay.io/a/b, repository does not exist or may require 'docker login': no";
        assert_eq!(
            said(StatusCode::FORBIDDEN, denied),
            (StatusCode::NOT_FOUND, words.to_owned())
        );
        let other = (StatusCode::FORBIDDEN, "another".to_owned());
        assert_eq!(said(other.0, &other.1), other);
    }

    #[test]
    fn names_with_tags_and_digests() {
        assert_eq!(reference("busybox", "1").unwrap(), ("busybox:1".to_owned(), false));
        assert_eq!(reference("busybox", "").unwrap(), ("busybox".to_owned(), true));
        assert_eq!(reference("a:1", "").unwrap(), ("a:1".to_owned(), false));
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(reference("a", &digest).unwrap(), (format!("a@{digest}"), false));
        assert_eq!(reference("a:1", "2").unwrap(), ("a:2".to_owned(), false));
        assert_eq!(reference("a:1", &digest).unwrap(), (format!("a@{digest}"), false));
        assert_eq!(reference("a:", "").unwrap(), ("a".to_owned(), true));
        assert!(reference("a", "/").is_err());
        assert!(reference("UPPER", "").is_err());
    }
}
