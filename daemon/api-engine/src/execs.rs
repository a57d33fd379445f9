//! The Execs service.

use crate::status::{Answer, answer, finish, refuse};
use crate::{Door, check, view};
use gantry_core::Result;
use gantry_engine::CreateExec;
use gantry_proto::gantry::v1 as wire;
use gantry_proto::gantry::v1::execs_server::Execs;
use tonic::Request;

#[tonic::async_trait]
impl Execs for Door {
    async fn create(&self, request: Request<wire::CreateExecRequest>) -> Answer<wire::CreateExecResponse> {
        let request = create(request.into_inner()).map_err(refuse)?;
        let engine = self.engine.clone();
        finish(async move {
            let created = engine.exec_create(request).await?;
            Ok(wire::CreateExecResponse {
                id: created.id.to_string(),
                endpoint: Some(view::endpoint(created.endpoint)),
            })
        })
        .await
    }

    async fn start(&self, request: Request<wire::StartExecRequest>) -> Answer<wire::StartExecResponse> {
        let id = request.into_inner().exec;
        let engine = self.engine.clone();
        finish(async move { engine.exec_start(&id).await.map(|pid| wire::StartExecResponse { pid }) }).await
    }

    async fn inspect(&self, request: Request<wire::InspectExecRequest>) -> Answer<wire::Exec> {
        answer(
            self.engine
                .exec_inspect(&request.into_inner().exec)
                .await
                .map(|seen| view::exec(&seen)),
        )
    }

    async fn wait(&self, request: Request<wire::WaitExecRequest>) -> Answer<wire::WaitExecResponse> {
        let code = self.engine.exec_wait(&request.into_inner().exec).await;
        answer(code.map(|exit_code| wire::WaitExecResponse { exit_code }))
    }
}

/// `detach_keys` are the client's affair: the bytes do not pass here.
fn create(request: wire::CreateExecRequest) -> Result<CreateExec> {
    Ok(CreateExec {
        container: request.container,
        cmd: check::texts("cmd", request.cmd)?,
        env: check::env("env", request.env)?,
        user: check::text("user", request.user)?,
        working_dir: check::text("working_dir", request.working_dir)?,
        tty: request.tty,
        console_size: None,
        attach_stdin: request.attach_stdin,
        attach_stdout: request.attach_stdout,
        attach_stderr: request.attach_stderr,
        detach_keys: Vec::new(),
        privileged: request.privileged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_values_are_refused_by_name() {
        let error = create(wire::CreateExecRequest {
            env: vec!["=".into()],
            ..Default::default()
        })
        .unwrap_err();
        assert!(error.message().starts_with("env: "), "{error}");
        let error = create(wire::CreateExecRequest {
            cmd: vec!["a\0b".into()],
            ..Default::default()
        })
        .unwrap_err();
        assert!(error.message().starts_with("cmd: "), "{error}");
    }
}
