//! `POST /containers/{name}/attach`.

use crate::answer::{Answer, Failure};
use crate::call::Call;
use crate::hijack::{self, Before, Course, Hijack, Wanted};
use crate::{escape, logs};
use gantry_core::lifecycle::State;
use gantry_engine::LogQuery;

pub async fn attach(call: Call) -> Answer {
    let detach_keys = escape::keys(call.query.text("detachKeys"))?;
    let (record, state) = call.engine().look(call.name())?;
    let query = &call.query;
    let wanted = Wanted {
        stdin: query.flag("stdin") && query.flag("stream") && record.config.open_stdin,
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        tty: record.config.tty,
        detach_keys,
    };
    let (stream, past) = (query.flag("stream"), query.flag("logs"));
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
    let before = match past {
        true => history(&call, &id, &wanted).await?,
        false => hijack::nothing_before(),
    };
    let course = Course {
        begin: hijack::begun(),
        settled: hijack::settled(),
    };
    Ok(Hijack::of(call, wanted.tty).answer(joined, wanted, before, course))
}

/// What the log has of it.
async fn history(call: &Call, id: &str, wanted: &Wanted) -> Result<Before, Failure> {
    let query = LogQuery {
        stdout: wanted.stdout,
        stderr: wanted.stderr || wanted.tty,
        ..LogQuery::default()
    };
    if !query.stdout && !query.stderr {
        return Ok(hijack::nothing_before());
    }
    let lines = call.engine().logs(id, query).await?;
    Ok(Box::pin(logs::pieces(lines, !wanted.tty)))
}
