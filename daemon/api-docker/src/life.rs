//! What changes a container's state, and waiting for it.

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::go_json;
use bytes::Bytes;
use futures::FutureExt;
use gantry_core::ErrorKind;
use gantry_engine::{RemoveOptions, StopOptions, WaitFor, Waited};
use http::StatusCode;
use hyper::body::Body as _;
use serde_json::{Value, json};

/// Bytes of a JSON object in which something is said.
const SHORTEST: u64 = 7;

pub async fn start(call: Call) -> Answer {
    // Old clients sent a configuration along, which has been refused since 1.24; what is shorter than the shortest is let pass.
    let length = call.body.size_hint().lower();
    if length > SHORTEST || call.body.size_hint().upper().is_none() && !call.body.is_end_stream() {
        return Err(Failure::bad(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if !call.query.text("checkpoint").is_empty() {
        return Err(Failure::bad("checkpoint is only supported in experimental mode"));
    }
    if !call.query.text("checkpoint-dir").is_empty() {
        call.engine().look(call.name())?;
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "custom checkpointdir is not supported",
        ));
    }
    // `detachKeys` are an attach's affair; a start takes and forgets them.
    let started = call.engine().start(call.name()).await?;
    match started.already_running {
        true => Ok(answer::bare(StatusCode::NOT_MODIFIED)),
        false => answer::no_content(),
    }
}

/// Seconds and signal of a stop or restart.
fn stop_options(call: &Call) -> Result<StopOptions, Failure> {
    let timeout = call.query.number("t")?;
    Ok(StopOptions {
        timeout: timeout.map(|seconds| i32::try_from(seconds).unwrap_or(if seconds < 0 { -1 } else { i32::MAX })),
        signal: call.query.text("signal").to_owned(),
    })
}

pub async fn stop(call: Call) -> Answer {
    let options = stop_options(&call)?;
    match call.engine().stop(call.name(), options).await? {
        true => answer::no_content(),
        false => Ok(answer::bare(StatusCode::NOT_MODIFIED)),
    }
}

pub async fn restart(call: Call) -> Answer {
    let options = stop_options(&call)?;
    call.engine().restart(call.name(), options).await?;
    answer::no_content()
}

pub async fn kill(call: Call) -> Answer {
    let signal = call.query.text("signal");
    if !signal.is_empty() {
        gantry_core::signal::parse(signal)?;
    }
    let killed = call.engine().kill(call.name(), signal).await;
    killed.map_err(|error| match error.kind() {
        ErrorKind::InvalidArgument => error,
        _ => error.context(format!("cannot kill container: {}", call.name())),
    })?;
    answer::no_content()
}

pub async fn pause(call: Call) -> Answer {
    call.engine().pause(call.name()).await?;
    answer::no_content()
}

pub async fn unpause(call: Call) -> Answer {
    call.engine().unpause(call.name()).await?;
    answer::no_content()
}

pub async fn rename(call: Call) -> Answer {
    let new = call.query.text("name");
    if new.is_empty() || new == "/" {
        return Err(Failure::bad("Neither old nor new names may be empty"));
    }
    call.engine().rename(call.name(), new).await?;
    answer::no_content()
}

pub async fn remove(call: Call) -> Answer {
    if call.query.flag("link") {
        call.engine().unlink(call.name()).await?;
        return answer::no_content();
    }
    let options = RemoveOptions {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
    };
    call.engine().remove(call.name(), options).await?;
    answer::no_content()
}

/// Rows and columns of a terminal.
pub fn size(call: &Call) -> Result<(u16, u16), Failure> {
    let one = |key: &str| {
        let text = call.query.text(key);
        let digits = text.strip_prefix('-').unwrap_or(text);
        let why = match text.parse::<u32>() {
            Ok(number) if !text.starts_with('+') => {
                return Ok::<u16, Failure>(u16::try_from(number).unwrap_or(u16::MAX));
            }
            _ if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => "value out of range",
            _ => "invalid syntax",
        };
        let side = if key == "h" { "height" } else { "width" };
        Err(Failure::bad(format!(
            "invalid resize {side} \"{}\": {why}",
            text.escape_default()
        )))
    };
    Ok((one("h")?, one("w")?))
}

pub async fn resize(call: Call) -> Answer {
    let (height, width) = size(&call)?;
    call.engine().resize(call.name(), height, width).await?;
    answer::done()
}

fn condition(call: &Call) -> Result<WaitFor, Failure> {
    match call.query.text("condition") {
        "" | "not-running" => Ok(WaitFor::NotRunning),
        "next-exit" => Ok(WaitFor::NextExit),
        "removed" => Ok(WaitFor::Removed),
        other => Err(Failure::bad(format!("invalid condition: \"{other}\""))),
    }
}

/// The headers go out when the waiting has begun: a client starts its container only then.
pub async fn wait(call: Call) -> Answer {
    let condition = condition(&call)?;
    let (engine, name) = (call.engine().clone(), call.name().to_owned());
    let brief = call.since(42);
    let mut waiting = Box::pin(async move { engine.wait(&name, condition).await });
    let first = match waiting.as_mut().now_or_never() {
        Some(waited) => futures::future::ready(Ok(waited?)).left_future(),
        None => waiting.right_future(),
    };
    let body = first.map(move |waited| match waited {
        Ok(waited) => Ok(Bytes::from(go_json::line(&outcome(&waited, brief)))),
        Err(error) => Err(std::io::Error::other(error)),
    });
    Ok(answer::stream(answer::JSON, body.into_stream()))
}

fn outcome(waited: &Waited, brief: bool) -> Value {
    match brief {
        true => json!({ "StatusCode": waited.code }),
        false => json!({ "Error": null, "StatusCode": waited.code }),
    }
}
