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
    if let Some(result) = result {
        out::line(&result.reference);
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

async fn transfer(daemon: &Daemon, request: pb::PullRequest, show: Show) -> Result<Option<pb::PullResult>> {
    let mut news = daemon.take(daemon.images().pull(request).await)?;
    let mut progress = Progress::new(if show == Show::OnStdout { To::Stdout } else { To::Stderr });
    let (mut result, mut digest_said) = (None, false);
    while let Some(piece) = news.message().await.map_err(|status| daemon.error(status))? {
        if show != Show::Nothing && !piece.status.is_empty() {
            digest_said |= piece.status.starts_with("Digest: ");
            progress.show(&piece.id, &piece.status, piece.current, piece.total);
        }
        result = piece.result.or(result);
    }
    if show != Show::Nothing
        && let Some(result) = &result
    {
        let word = if result.up_to_date {
            "Image is up to date"
        } else {
            "Downloaded newer image"
        };
        if !digest_said {
            progress.show("", &format!("Digest: {}", result.digest), 0, 0);
        }
        progress.show("", &format!("Status: {word} for {}", familiar(&result.reference)), 0, 0);
    }
    Ok(result)
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
    fn names_get_the_default_tag() {
        assert_eq!(with_tag("busybox"), "busybox:latest");
        assert_eq!(with_tag("host:5000/b"), "host:5000/b:latest");
        assert_eq!(with_tag("host:5000/b:1"), "host:5000/b:1");
        assert_eq!(with_tag("b@sha256:aa"), "b@sha256:aa");
        assert_eq!(familiar("docker.io/library/busybox:1"), "busybox:1");
        assert_eq!(familiar("docker.io/me/app:1"), "me/app:1");
    }
}
