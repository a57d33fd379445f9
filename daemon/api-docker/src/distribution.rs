//! `GET /distribution/{name}/json`: what a registry has under a name.

use crate::answer::{Answer, Failure};
use crate::call::Call;
use gantry_core::reference::Reference;

pub async fn inspect(call: Call) -> Answer {
    if call.before(30) {
        return Err(Failure::new(http::StatusCode::NOT_FOUND, "page not found"));
    }
    Reference::parse(call.name())?;
    Err(Failure::unbuilt("asking a registry about an image"))
}
