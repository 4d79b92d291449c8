//! The oauth room over real HTTP, against a scripted provider.

mod assertions;
mod engine;
mod rig;
mod secrets;
mod signin;
