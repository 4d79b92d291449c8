//! What people write, wherever they write it: networks. Used by the configuration and by device
//! passwords alike, so that both take the same texts and give the same words.

pub mod network;
