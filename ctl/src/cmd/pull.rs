//! `pull`, and pulling on behalf of `run` and `create`.

use gantry_proto::gantry::v1 as pb;

use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::out;
use crate::progress::{Progress, To};

/// What is shown of a pull.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Nothing,
    OnStdout,
    OnStderr,
}

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let (name, quiet) = (parsed.arg(0), parsed.on("quiet"));
    let all_tags = parsed.on("all-tags");
    if all_tags && with_tag(name) == name {
        return Err(Error::refused("tag can't be used with --all-tags/-a"));
    }
    if !all_tags && !quiet && with_tag(name) != name {
        out::line("Using default tag: latest");
    }
    let request = pb::PullRequest {
        reference: name.to_owned(),
        platform: parsed.text("platform").unwrap_or_default().to_owned(),
        all_tags,
        auth: None,
    };
    let result = transfer(&daemon, request, if quiet { Show::Nothing } else { Show::OnStdout }).await?;
    if let Some((reference, _)) = result {
        out::line(reference);
    }
    Ok(0)
}

/// Pulls one image for the host's platform.
pub(super) async fn pull(daemon: &Daemon, image: &str, show: Show) -> Result<()> {
    let request = pb::PullRequest {
        reference: image.to_owned(),
        ..pb::PullRequest::default()
    };
    transfer(daemon, request, show).await.map(drop)
}

/// Follows a pull to its end: what was pulled, by its whole name, and whether all of it was here before.
async fn transfer(daemon: &Daemon, request: pb::PullRequest, show: Show) -> Result<Option<(String, bool)>> {
    let all_tags = request.all_tags;
    let mut news = daemon.take(daemon.images().pull(request).await)?;
    let mut progress = Progress::new(if show == Show::OnStdout { To::Stdout } else { To::Stderr });
    let mut results: Vec<pb::PullResult> = Vec::new();
    let mut digests_said = 0;
    while let Some(piece) = news.message().await.map_err(|status| daemon.error(status))? {
        if show != Show::Nothing && !piece.status.is_empty() {
            digests_said += usize::from(piece.status.starts_with("Digest: "));
            progress.show(&piece.id, &piece.status, piece.current, piece.total);
        }
        if let Some(result) = piece.result {
            results.push(result);
            if show != Show::Nothing && digests_said < results.len() {
                digests_said += 1;
                let digest = results.last().map_or("", |result| &result.digest);
                progress.show("", &format!("Digest: {digest}"), 0, 0);
            }
        }
    }
    let Some(pulled) = conclusion(&results, all_tags) else {
        return Ok(None);
    };
    if show != Show::Nothing {
        let word = if pulled.1 {
            "Image is up to date"
        } else {
            "Downloaded newer image"
        };
        progress.show("", &format!("Status: {word} for {}", familiar(&pulled.0)), 0, 0);
    }
    Ok(Some(pulled))
}

/// The last image's name; of many tags their repository's.
fn conclusion(results: &[pb::PullResult], all_tags: bool) -> Option<(String, bool)> {
    let name = &results.last()?.reference;
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if all_tags && !tag.contains('/') => repository,
        _ => name,
    };
    Some((repository.to_owned(), results.iter().all(|result| result.up_to_date)))
}

/// "docker.io/library/busybox:1" as people write it.
fn familiar(reference: &str) -> &str {
    let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
    short.strip_prefix("library/").unwrap_or(short)
}

/// The image with the tag that is meant when there is none.
pub(super) fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let bare_id = image.len() == 64 && image.bytes().all(|byte| byte.is_ascii_hexdigit());
    if last.contains([':', '@']) || image.contains('@') || bare_id {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tags_are_concluded_as_their_repository() {
        let result = |reference: &str, up_to_date| pb::PullResult {
            reference: reference.into(),
            up_to_date,
            ..pb::PullResult::default()
        };
        let two = [result("host:5000/b:1", true), result("host:5000/b:2", false)];
        assert_eq!(conclusion(&two, true), Some(("host:5000/b".into(), false)));
        assert_eq!(conclusion(&two[..1], false), Some(("host:5000/b:1".into(), true)));
        assert_eq!(conclusion(&[], true), None);
    }

    #[test]
    fn names_get_the_default_tag() {
        assert_eq!(with_tag("busybox"), "busybox:latest");
        assert_eq!(with_tag("host:5000/b"), "host:5000/b:latest");
        assert_eq!(with_tag("host:5000/b:1"), "host:5000/b:1");
        assert_eq!(with_tag("b@sha256:aa"), "b@sha256:aa");
        assert_eq!(familiar("docker.io/library/busybox:1"), "busybox:1");
        assert_eq!(familiar("docker.io/me/app:1"), "me/app:1");
    }
}
