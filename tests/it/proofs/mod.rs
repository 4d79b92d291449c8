//! What must hold of the tokens whatever happens: shown with the built program, a provider that rotates
//! refresh tokens and takes a sign-in back when an old one is used again, and accidents.
//!
//! Random choices come from a seed, which a failure prints; `PROOFS_SEED=N` repeats it.

mod chaos;
mod disk;
mod full;
mod killed;
mod rig;
mod stopped;
