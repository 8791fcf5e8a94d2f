#!/usr/bin/env bash
# vLLM with keys, limits and exact bills around it: ./serve.sh MODEL [VLLM'S OPTIONS]
#
# The plan must have a price for MODEL. Beside it, on the same METERING_DATA:
#
#   metering accounts create acme
#   metering keys issue acme
set -euo pipefail

export METERING_CONFIG="${METERING_CONFIG:-preset:friendli}"
export METERING_DATA="${METERING_DATA:-$PWD/.metering}"

# The last option has vLLM tell how long it computed, for prices by time.
exec vllm serve "$@" \
	--middleware metering.MeteringMiddleware \
	--enable-per-request-metrics
