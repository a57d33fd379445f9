//! `GET /distribution/{name}/json`: what a registry has under a name.

use crate::answer::{self, Answer, Failure};
use crate::auth;
use crate::call::Call;
use gantry_image::{Credentials, Descriptor, Platform};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    descriptor: Target,
    platforms: Vec<Platform>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    media_type: String,
    digest: String,
    size: u64,
}

impl From<Descriptor> for Target {
    fn from(target: Descriptor) -> Self {
        Self {
            media_type: target.media_type,
            digest: target.digest.to_string(),
            size: target.size,
        }
    }
}

pub async fn inspect(call: Call) -> Answer {
    if call.before(30) {
        return Err(Failure::new(http::StatusCode::NOT_FOUND, "page not found"));
    }
    let auth = auth::read(call.header("x-registry-auth"));
    let credentials = Credentials::new(&auth.username, &auth.password, &auth.identitytoken);
    let looked = call.engine().image_look(call.name(), credentials).await?;
    answer::ok(&Shown {
        descriptor: looked.target.into(),
        platforms: looked.platforms,
    })
}
