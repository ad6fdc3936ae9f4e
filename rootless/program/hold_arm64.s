//go:build !portable

#include "textflag.h"

#define SYS_rt_sigreturn	139
#define SYS_getpid		172
#define SYS_rt_sigqueueinfo	138
#define maskInContext		40	// uc_sigmask in struct ucontext

// keep is a signal handler, called by the kernel: R0 the signal, R1 its
// siginfo, R2 the ucontext. See hold_amd64.s.
TEXT ·keep(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	$-1, R3
	MOVD	R3, maskInContext(R2)
	MOVW	8(R1), R4
	CMPW	$0x80, R4		// si_code SI_KERNEL: from the terminal
	CSET	EQ, R4
	MOVW	$-1, R3
	MOVW	R3, 8(R1)		// only SI_QUEUE may be sent on; si_value keeps
	MOVD	R4, 24(R1)		// what supervise wants to know
	MOVD	R1, R9
	MOVD	R0, R10
	MOVD	$SYS_getpid, R8
	SVC
	MOVD	R10, R1
	MOVD	R9, R2
	MOVD	$SYS_rt_sigqueueinfo, R8
	SVC
	RET

// back is where a handler returns to: sigreturn(2).
TEXT ·back(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	$SYS_rt_sigreturn, R8
	SVC
	BRK

// func handlers() (keep, back uintptr)
TEXT ·handlers(SB),NOSPLIT|NOFRAME,$0-16
	MOVD	$·keep(SB), R0
	MOVD	R0, keep+0(FP)
	MOVD	$·back(SB), R0
	MOVD	R0, back+8(FP)
	RET
