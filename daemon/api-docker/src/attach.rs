//! `POST /containers/{name}/attach`, and what it shares with the attach by websocket.

use crate::answer::{Answer, Failure};
use crate::call::Call;
use crate::hijack::{self, Before, Course, Hijack, Wanted};
use crate::{escape, logs};
use gantry_core::lifecycle::State;
use gantry_engine::{LogLine, LogQuery};
use tokio::sync::mpsc;

pub async fn attach(call: Call) -> Answer {
    let query = &call.query;
    let wanted = Wanted {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        ..Wanted::default()
    };
    attach_as(call, wanted, Hijack::of).await
}

/// Attaches with the streams of `wanted`; `way` makes the connection theirs.
pub async fn attach_as(call: Call, wanted: Wanted, way: impl FnOnce(Call, bool) -> Hijack) -> Answer {
    let detach_keys = escape::keys(call.query.text("detachKeys"))?;
    let (record, state) = call.engine().look(call.name())?;
    let (stream, past) = (call.query.flag("stream"), call.query.flag("logs"));
    let wanted = Wanted {
        stdin: wanted.stdin && stream && record.config.open_stdin,
        tty: record.config.tty,
        detach_keys,
        ..wanted
    };
    let id = record.id.to_string();
    let joined = match (stream, &state) {
        (false, _) => None,
        (true, State::Created | State::Exited { .. } | State::Preparing { .. } | State::Clearing { .. }) => {
            // What cannot be made is told by the start that follows.
            match call.engine().attach_before_start(&id).await {
                Ok(endpoint) => Some(hijack::join(endpoint, &wanted).await?),
                Err(_) => None,
            }
        }
        (true, _) => Some(hijack::join(call.engine().attach(&id).await?, &wanted).await?),
    };
    let past = match past {
        true => history(&call, &id, &wanted).await?,
        false => None,
    };
    let hijack = way(call, wanted.tty);
    let before = match past {
        Some(lines) => Box::pin(logs::pieces(lines, hijack.framed())) as Before,
        None => hijack::nothing_before(),
    };
    let course = Course {
        begin: hijack::begun(),
        settled: hijack::settled(),
    };
    Ok(hijack.answer(joined, wanted, before, course))
}

/// What the log has of it.
async fn history(
    call: &Call,
    id: &str,
    wanted: &Wanted,
) -> Result<Option<mpsc::Receiver<gantry_core::Result<LogLine>>>, Failure> {
    let query = LogQuery {
        stdout: wanted.stdout,
        stderr: wanted.stderr || wanted.tty,
        ..LogQuery::default()
    };
    if !query.stdout && !query.stderr {
        return Ok(None);
    }
    Ok(Some(call.engine().logs(id, query).await?))
}
