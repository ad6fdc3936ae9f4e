//go:build !portable

#include "textflag.h"

#define SYS_rt_sigreturn	15
#define SYS_getpid		39
#define SYS_rt_sigqueueinfo	129
#define maskInContext		296	// uc_sigmask in struct ucontext

// keep is a signal handler, called by the kernel: DI the signal, SI its
// siginfo, DX the ucontext. The thread blocks everything from now on and the
// signal goes back to the process, where another thread takes it until all
// have blocked it: then it stays pending, also over execve.
TEXT ·keep(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	$-1, maskInContext(DX)
	XORQ	CX, CX
	CMPL	8(SI), $0x80		// si_code SI_KERNEL: from the terminal
	JNE	2(PC)
	MOVQ	$1, CX
	MOVL	$-1, 8(SI)		// only SI_QUEUE may be sent on; si_value keeps
	MOVQ	CX, 24(SI)		// what supervise wants to know
	MOVQ	SI, R8
	MOVQ	DI, R9
	MOVQ	$SYS_getpid, AX
	SYSCALL
	MOVQ	AX, DI
	MOVQ	R9, SI
	MOVQ	R8, DX
	MOVQ	$SYS_rt_sigqueueinfo, AX
	SYSCALL
	RET

// back is where a handler returns to: sigreturn(2).
TEXT ·back(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	$SYS_rt_sigreturn, AX
	SYSCALL
	INT	$3

// func handlers() (keep, back uintptr)
TEXT ·handlers(SB),NOSPLIT|NOFRAME,$0-16
	LEAQ	·keep(SB), AX
	MOVQ	AX, keep+0(FP)
	LEAQ	·back(SB), AX
	MOVQ	AX, back+8(FP)
	RET
