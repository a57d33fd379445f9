//! What a registry has under a name.

use crate::Engine;
use gantry_core::Result;
use gantry_core::reference::Reference;
use gantry_image::{Access, Credentials, Looked};

impl Engine {
    /// Asks the registry; nothing is kept here.
    pub async fn image_look(&self, name: &str, credentials: Option<Credentials>) -> Result<Looked> {
        let reference = Reference::parse(name)?;
        self.context
            .images
            .look(reference, Access::with_login(credentials))
            .await
    }
}
