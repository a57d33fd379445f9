//! What is said to a shim of the sandbox that it is (`containerd.runtime.sandbox.v1`).

use super::Shim;
use crate::error::Result;
use crate::foreign::Endpoint;
use crate::sandbox::{NewSandbox, SandboxEnd, SandboxMetric, SandboxPlatform, SandboxStarted, SandboxState};
use crate::words::{from_any, moment, mount, to_any};
use gantry_proto_shim::protobuf::well_known_types::timestamp::Timestamp;
use gantry_proto_shim::{SandboxClient, sandbox_api as wire};
use std::time::{Duration, SystemTime};
use ttrpc::context::Context;

impl Shim {
    fn sandbox(&self) -> SandboxClient {
        SandboxClient::new(self.link().client)
    }

    pub async fn create_sandbox(&self, new: NewSandbox) -> Result<()> {
        let request = wire::CreateSandboxRequest {
            sandbox_id: self.key().to_owned(),
            bundle_path: self.inner.bundle.path().to_string_lossy().into_owned(),
            rootfs: new.rootfs.into_iter().map(mount).collect(),
            options: new.options.map(to_any).into(),
            netns_path: new.netns_path,
            annotations: new.annotations.into_iter().collect(),
            ..Default::default()
        };
        let client = self.sandbox();
        let call = client.create_sandbox(Context::default(), &request);
        self.call("create sandbox", self.inner.deadlines.work, false, call)
            .await?;
        Ok(())
    }

    pub async fn start_sandbox(&self) -> Result<SandboxStarted> {
        let mut request = wire::StartSandboxRequest::new();
        request.sandbox_id = self.key().to_owned();
        let client = self.sandbox();
        let call = client.start_sandbox(Context::default(), &request);
        let started = self
            .call("start sandbox", self.inner.deadlines.work, false, call)
            .await?;
        Ok(SandboxStarted {
            pid: started.pid,
            created_at: at(started.created_at.as_ref()),
            spec: started.spec.into_option().map(from_any),
        })
    }

    pub async fn sandbox_platform(&self) -> Result<SandboxPlatform> {
        let mut request = wire::PlatformRequest::new();
        request.sandbox_id = self.key().to_owned();
        let client = self.sandbox();
        let answer = self.brief(
            "ask the platform of sandbox",
            client.platform(Context::default(), &request),
        );
        let platform = answer.await?.platform.unwrap_or_default();
        Ok(SandboxPlatform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
        })
    }

    /// The shim is told how long its containers may take, and is itself given a little longer.
    pub async fn stop_sandbox(&self, limit: Option<Duration>) -> Result<()> {
        let mut request = wire::StopSandboxRequest::new();
        request.sandbox_id = self.key().to_owned();
        request.timeout_secs = limit.map_or(0, |limit| u32::try_from(limit.as_secs()).unwrap_or(u32::MAX));
        let client = self.sandbox();
        let after = self.inner.deadlines.work.max(limit.unwrap_or_default()) + self.inner.deadlines.call;
        let call = client.stop_sandbox(Context::default(), &request);
        self.call("stop sandbox", after, false, call).await?;
        Ok(())
    }

    /// Waits for its end, however long that takes. Lost with the shim.
    pub async fn wait_sandbox(&self) -> Result<SandboxEnd> {
        let mut request = wire::WaitSandboxRequest::new();
        request.sandbox_id = self.key().to_owned();
        let client = self.sandbox();
        let call = client.wait_sandbox(Context::default(), &request);
        let link = self.link();
        let answer = tokio::select! {
            biased;
            answer = call => answer.map_err(|error| crate::TaskError::from_call("wait for sandbox", self.key(), false, error)),
            () = link.closed() => Err(self.lost("wait for sandbox")),
        };
        let end = answer?;
        Ok(SandboxEnd {
            status: end.exit_status,
            at: at(end.exited_at.as_ref()).unwrap_or_else(SystemTime::now),
        })
    }

    pub async fn sandbox_state(&self, verbose: bool, limit: Duration) -> Result<SandboxState> {
        let mut request = wire::SandboxStatusRequest::new();
        request.sandbox_id = self.key().to_owned();
        request.verbose = verbose;
        let client = self.sandbox();
        let call = client.sandbox_status(Context::default(), &request);
        let state = self.call("ask the status of sandbox", limit, false, call).await?;
        Ok(SandboxState {
            pid: state.pid,
            state: state.state,
            info: state.info.into_iter().collect(),
            created_at: at(state.created_at.as_ref()),
            exited_at: at(state.exited_at.as_ref()),
            extra: state.extra.into_option().map(from_any),
        })
    }

    pub async fn sandbox_metrics(&self) -> Result<Option<SandboxMetric>> {
        let mut request = wire::SandboxMetricsRequest::new();
        request.sandbox_id = self.key().to_owned();
        let client = self.sandbox();
        let answer = self.brief(
            "ask the metrics of sandbox",
            client.sandbox_metrics(Context::default(), &request),
        );
        Ok(answer.await?.metrics.into_option().map(|metric| SandboxMetric {
            at: at(metric.timestamp.as_ref()),
            id: metric.id,
            data: metric.data.into_option().map(from_any),
        }))
    }

    pub async fn shutdown_sandbox(&self) -> Result<()> {
        let mut request = wire::ShutdownSandboxRequest::new();
        request.sandbox_id = self.key().to_owned();
        let client = self.sandbox();
        let call = client.shutdown_sandbox(Context::default(), &request);
        let after = self.inner.deadlines.call + self.inner.deadlines.cleanup;
        self.call("shut down sandbox", after, false, call).await?;
        Ok(())
    }

    /// Where other tasks may join this shim, if it can be talked to in that way.
    pub fn endpoint(&self) -> Option<Endpoint> {
        Endpoint::parse(&self.inner.bootstrap.address, self.version())
    }

    /// Where tasks that join the sandbox are made, as containerd's clients write it.
    pub fn task_address(&self) -> String {
        format!("ttrpc+{}", self.inner.bootstrap.address)
    }
}

/// None for one that is not set, or set to what Go calls zero.
fn at(stamp: Option<&Timestamp>) -> Option<SystemTime> {
    stamp.map(moment).filter(|at| *at > SystemTime::UNIX_EPOCH)
}
