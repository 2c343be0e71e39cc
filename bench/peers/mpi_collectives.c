#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int r,n; static float *a,*b; static size_t cnt;
static void f_ar(void){MPI_Allreduce(MPI_IN_PLACE,a,cnt,MPI_FLOAT,MPI_SUM,MPI_COMM_WORLD);}
static void f_rs(void){MPI_Reduce_scatter_block(a,b,cnt/n,MPI_FLOAT,MPI_SUM,MPI_COMM_WORLD);}
static void f_ag(void){MPI_Allgather(b,cnt/n,MPI_FLOAT,a,cnt/n,MPI_FLOAT,MPI_COMM_WORLD);}
static void f_aa(void){MPI_Alltoall(a,cnt/n,MPI_FLOAT,b,cnt/n,MPI_FLOAT,MPI_COMM_WORLD);}
static void f_bc(void){MPI_Bcast(a,cnt,MPI_FLOAT,0,MPI_COMM_WORLD);}
static void f_ring(void){MPI_Sendrecv(a,cnt,MPI_FLOAT,(r+1)%n,0,b,cnt,MPI_FLOAT,(r+n-1)%n,0,MPI_COMM_WORLD,MPI_STATUS_IGNORE);}
static void f_pp(void){ if(r==0){MPI_Send(a,cnt,MPI_FLOAT,1,0,MPI_COMM_WORLD);MPI_Recv(a,cnt,MPI_FLOAT,1,0,MPI_COMM_WORLD,MPI_STATUS_IGNORE);}
 else if(r==1){MPI_Recv(a,cnt,MPI_FLOAT,0,0,MPI_COMM_WORLD,MPI_STATUS_IGNORE);MPI_Send(a,cnt,MPI_FLOAT,0,0,MPI_COMM_WORLD);} }
int main(int c,char**v){MPI_Init(&c,&v);MPI_Comm_rank(MPI_COMM_WORLD,&r);MPI_Comm_size(MPI_COMM_WORLD,&n);
 double budget=c>1?atof(v[1]):0.3; size_t sizes[]={4096,262144,4194304,67108864};
 struct{const char*name;void(*f)(void);}ops[]={{"all_reduce f32",f_ar},{"reduce_scatter f32",f_rs},{"all_gather f32",f_ag},{"all_to_all f32",f_aa},{"broadcast f32",f_bc},{"ring f32",f_ring},{"message",f_pp}};
 a=calloc(67108864,1);b=calloc(67108864,1);memset(a,0,67108864);memset(b,0,67108864);
 for(int s=0;s<4;s++)for(int o=0;o<7;o++){ if(!strcmp(ops[o].name,"message")&&n!=2)continue; if(n==2&&strcmp(ops[o].name,"message"))continue; cnt=sizes[s]/4; ops[o].f(); double t0=MPI_Wtime();ops[o].f();double once=MPI_Wtime()-t0;
  int k=once>0.02?1:(int)(0.02/(once+1e-7)); if(k<1)k=1;if(k>2000)k=2000; MPI_Bcast(&k,1,MPI_INT,0,MPI_COMM_WORLD);
  double rounds[100000];int m=0,go=1;double end=MPI_Wtime()+budget;
  while(go){MPI_Barrier(MPI_COMM_WORLD);t0=MPI_Wtime();for(int i=0;i<k;i++)ops[o].f();MPI_Barrier(MPI_COMM_WORLD);rounds[m++]=(MPI_Wtime()-t0)/k;go=MPI_Wtime()<end||m<3;MPI_Bcast(&go,1,MPI_INT,0,MPI_COMM_WORLD);}
  for(int i=0;i<m;i++)for(int j=i+1;j<m;j++)if(rounds[j]<rounds[i]){double t=rounds[i];rounds[i]=rounds[j];rounds[j]=t;}
  double q=strcmp(ops[o].name,"message")?1:0.5;
  if(r==0)printf("%-20s ranks %d  %9zu bytes  best %9.4f ms  median %9.4f ms\n",ops[o].name,n,sizes[s],rounds[0]*1e3*q,rounds[m/2]*1e3*q),fflush(stdout);}
 MPI_Finalize();}
