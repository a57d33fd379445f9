//! Execs.

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::create::host::console_size;
use crate::create::{env, text, texts};
use crate::hijack::{self, Course, Hijack, Wanted};
use crate::model::asked;
use crate::{escape, life};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_engine::{CreateExec, Engine, ExecView};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tracing::debug;

/// How long the news of an exec's end may take.
const SETTLING: Duration = Duration::from_secs(10);

pub async fn create(mut call: Call) -> Answer {
    let asked: asked::Exec = call.must_json().await?;
    let cmd = asked.cmd.0.unwrap_or_default();
    if cmd.is_empty() {
        return Err(Failure::bad("No exec command specified"));
    }
    let detach_keys = match asked.detach_keys.as_str() {
        "" => Vec::new(),
        text => escape::keys(text)?,
    };
    // Sizes came with 1.42.
    let size = if call.since(42) { asked.console_size } else { Vec::new() };
    let console_size = console_size(&size)?;
    let created = call
        .engine()
        .exec_create(CreateExec {
            container: call.name().to_owned(),
            cmd: texts("Cmd", cmd)?,
            env: env(asked.env)?,
            user: text("User", asked.user)?,
            working_dir: text("WorkingDir", asked.working_dir)?,
            tty: asked.tty,
            console_size,
            attach_stdin: asked.stdin,
            attach_stdout: asked.stdout,
            attach_stderr: asked.stderr,
            detach_keys,
            privileged: asked.privileged,
        })
        .await?;
    answer::created(&json!({ "Id": created.id.to_string() }))
}

pub async fn start(mut call: Call) -> Answer {
    let asked: asked::ExecStart = call.json().await?;
    let size = start_size(&call, &asked)?;
    let id = call.name().to_owned();
    let seen = call.engine().exec_inspect(&id).await?;
    if asked.detach {
        call.engine().exec_start(&id).await?;
        resized(call.engine(), &id, size).await;
        return answer::done();
    }
    refuse_again(&seen)?;
    let keys = &seen.record.detach_keys;
    let wanted = Wanted {
        stdin: seen.record.open_stdin,
        stdout: seen.record.open_stdout,
        stderr: seen.record.open_stderr,
        tty: seen.record.tty,
        detach_keys: if keys.is_empty() {
            escape::keys("")?
        } else {
            keys.clone()
        },
    };
    let attached = hijack::join(call.engine().exec_attach(&id).await?, &wanted).await?;
    let (engine, waiting, waited) = (call.engine().clone(), call.engine().clone(), id.clone());
    let begin = async move {
        let started = engine.exec_start(&id).await;
        started.map_err(|error| answer::in_go_words(error.message()))?;
        resized(&engine, &id, size).await;
        Ok(())
    };
    // The start says whether its streams are told apart, whatever the process writes to.
    let hijack = Hijack::of(call, asked.tty);
    // Who sees the end asks for the exit code next.
    let settled = async move {
        let _ = tokio::time::timeout(SETTLING, waiting.exec_wait(&waited)).await;
    };
    let course = Course {
        begin: Box::pin(begin),
        settled: Box::pin(settled),
    };
    Ok(hijack.answer(Some(attached), wanted, hijack::nothing_before(), course))
}

/// The size that a start asks for, which only a terminal has.
fn start_size(call: &Call, asked: &asked::ExecStart) -> Result<Option<(u16, u16)>, Failure> {
    if call.before(42) {
        return Ok(None);
    }
    Ok(console_size(&asked.console_size)?.filter(|_| asked.tty))
}

/// One that has ended already needs no size.
async fn resized(engine: &Engine, id: &str, size: Option<(u16, u16)>) {
    if let Some((height, width)) = size
        && let Err(error) = engine.exec_resize(id, height, width).await
    {
        debug!(err = %error, "an exec was not resized");
    }
}

/// One exec runs once.
fn refuse_again(seen: &ExecView) -> Result<(), Failure> {
    let id = &seen.record.id;
    let conflict = |message: String| Failure::new(http::StatusCode::CONFLICT, message);
    if seen.running() {
        return Err(conflict(format!("exec command {id} is already running")));
    }
    match seen.exit_code() {
        Some(_) => Err(conflict(format!("exec command {id} has already run"))),
        None => Ok(()),
    }
}

pub async fn resize(call: Call) -> Answer {
    let (height, width) = life::size(&call)?;
    call.engine().exec_resize(call.name(), height, width).await?;
    answer::done()
}

#[derive(Serialize)]
struct Shown {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Running")]
    running: bool,
    #[serde(rename = "ExitCode")]
    exit_code: Option<i32>,
    #[serde(rename = "ProcessConfig")]
    process: Process,
    #[serde(rename = "OpenStdin")]
    stdin: bool,
    #[serde(rename = "OpenStderr")]
    stderr: bool,
    #[serde(rename = "OpenStdout")]
    stdout: bool,
    #[serde(rename = "CanRemove")]
    can_remove: bool,
    #[serde(rename = "ContainerID")]
    container: String,
    #[serde(rename = "DetachKeys")]
    detach_keys: String,
    #[serde(rename = "Pid")]
    pid: u32,
}

#[derive(Serialize)]
struct Process {
    tty: bool,
    entrypoint: String,
    arguments: Vec<String>,
    privileged: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
}

pub async fn inspect(call: Call) -> Answer {
    let seen = call.engine().exec_inspect(call.name()).await?;
    let record = &seen.record;
    let mut words = record.cmd.iter().cloned();
    answer::ok(&Shown {
        id: record.id.to_string(),
        running: seen.running(),
        exit_code: seen.exit_code(),
        process: Process {
            tty: record.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: record.privileged,
            user: record.user.clone(),
        },
        stdin: record.open_stdin,
        stderr: record.open_stderr,
        stdout: record.open_stdout,
        can_remove: false,
        container: record.container.to_string(),
        // Bytes, as Go writes them.
        detach_keys: STANDARD.encode(&record.detach_keys),
        pid: seen.pid(),
    })
}
