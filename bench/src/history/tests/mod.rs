mod brute;
mod generate;
mod random;
mod scenes;
