"""What tests of services built on metering need."""
