//! Shapes: what bodies hold when they come in, and what goes out, in Docker's order and case (API 1.51, `swagger.yaml`).

pub mod asked;
pub mod shown;
