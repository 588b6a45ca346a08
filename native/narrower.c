// Makes this processor look like one with AVX2 and nothing wider, to everything that is loaded into a process after it:
//
//     cc -shared -fPIC -O2 native/narrower.c -o narrower.so && LD_PRELOAD=./narrower.so python …
//
// Libraries choose their instructions by asking the processor, and few of them listen to an environment variable. Linux
// can make the instruction that asks, cpuid, a fault (x86-64 alone, where the processor can); here the fault is answered,
// with the bits of AVX-512, AMX and AVX-VNNI cleared. Handlers for faults that others set go on getting theirs.

#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

static struct sigaction theirs;  // what others want done with real faults

static void allow(long whether) { syscall(SYS_arch_prctl, ARCH_SET_CPUID, whether); }

static void ask(greg_t* r) {
  const unsigned leaf = (unsigned)r[REG_RAX], part = (unsigned)r[REG_RCX];
  unsigned a, b, c, d;
  allow(1);
  __cpuid_count(leaf, part, a, b, c, d);
  allow(0);
  if (leaf == 7 && part == 0) {
    b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
    c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
    d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
  } else if ((leaf == 7 && part == 1) || leaf == 0x24) {  // AVX-VNNI, bfloat16 and what is newer
    a = b = c = d = 0;
  }
  r[REG_RAX] = a, r[REG_RBX] = b, r[REG_RCX] = c, r[REG_RDX] = d;
}

static int real_sigaction(int number, const struct sigaction* wanted, struct sigaction* before) {
  static int (*real)(int, const struct sigaction*, struct sigaction*);
  if (real == NULL) real = (int (*)(int, const struct sigaction*, struct sigaction*))dlsym(RTLD_NEXT, "sigaction");
  return real(number, wanted, before);
}

static void on_fault(int number, siginfo_t* info, void* context) {
  greg_t* r = ((ucontext_t*)context)->uc_mcontext.gregs;
  const unsigned char* at = (const unsigned char*)r[REG_RIP];
  if (info->si_code == SI_KERNEL && at[0] == 0x0f && at[1] == 0xa2) {
    ask(r);
    r[REG_RIP] += 2;
  } else if (theirs.sa_flags & SA_SIGINFO) {
    theirs.sa_sigaction(number, info, context);
  } else if (theirs.sa_handler != SIG_DFL && theirs.sa_handler != SIG_IGN) {
    theirs.sa_handler(number);
  } else {
    const struct sigaction end = {.sa_handler = SIG_DFL};
    real_sigaction(number, &end, NULL);  // the same fault again, and then the end
  }
}

int sigaction(int number, const struct sigaction* wanted, struct sigaction* before) {
  if (number != SIGSEGV) return real_sigaction(number, wanted, before);
  if (before != NULL) *before = theirs;
  if (wanted != NULL) theirs = *wanted;
  return 0;
}

// What gcc uses: a compiler that a held process starts is held too.
void (*signal(int number, void (*handler)(int)))(int) {
  static void (*(*real)(int, void (*)(int)))(int);
  if (real == NULL) real = (void (*(*)(int, void (*)(int)))(int))dlsym(RTLD_NEXT, "signal");
  if (number != SIGSEGV) return real(number, handler);
  void (*before)(int) = theirs.sa_flags & SA_SIGINFO ? SIG_DFL : theirs.sa_handler;
  theirs = (struct sigaction){.sa_handler = handler};
  return before;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  real_sigaction(SIGSEGV, &ours, NULL);
  if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
    fputs("narrower: this processor or this system cannot hide instructions\n", stderr);
    _exit(126);
  }
}
