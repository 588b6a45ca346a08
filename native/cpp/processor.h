// A function compiled for three generations of processors; the loader takes the one for this machine.
#pragma once

#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
