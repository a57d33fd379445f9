//! What drivers decide that manage addresses by themselves.

use super::Networks;
use gantry_core::Result;
use gantry_core::network::Sandbox;

impl Networks {
    /// Takes it over into a plan that has been made; whether it says anything new.
    pub(super) fn learn(&self, sandbox: &mut Sandbox) -> Result<bool> {
        let mut new = false;
        for endpoint in &mut sandbox.endpoints {
            let network = self.by_id(&endpoint.network)?;
            if let Some(learned) = self.driver(&network.driver)?.learned(&network, endpoint)? {
                let before = endpoint.clone();
                endpoint.learn(learned);
                new |= before != *endpoint;
            }
        }
        Ok(new)
    }
}
