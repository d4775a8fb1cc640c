//! Liveness in virtual time: many machines over a net that loses, delays, doubles and cuts, all from one seed.
//! `QUEENRIGHT_SIM_SEEDS=200` runs them with so many seeds.

mod costs;
mod datagrams;
mod deaths;
mod doubts;
mod net;
