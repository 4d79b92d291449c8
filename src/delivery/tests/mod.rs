//! The scheduler on a real spool, with a server that counts what it gets and answers as it is told.

mod commands;
mod faults;
mod herald;
mod judge;
mod late;
mod pace;
mod rig;
mod smtp;
mod untold;
