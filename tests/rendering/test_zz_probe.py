import time
from needlework.rendering.prompt import render
from needlework.rendering.room import Room
from needlework.examples import Document
def gold(unit):
    t="the secret is XYZZ." if unit!="entry" else "NAME {'AAAA': 'BBBB', 'ABCD': 'XYZZ'}"
    return Document(id="g",title="Gold",text=t,gold=True,unit=unit)
def test_x(readers, distractors, make):
  import itertools,random
  for surplus in (1.0,2.0,6.0):
   for L,n in ((256,12),(352,12),(1024,6),(4096,2)):
    for unit in ("word","sentence","entry"):
      bad=0;low=1;t=time.time();k=0;over=0
      for key,tok in readers.items():
        if key[1]=="chatml" and key[0]=="byte-level" or key[1]=="llama3": pass
        for i in range(n):
          g=gold(unit)
          ds=Room([tok],int(L*surplus)).fill([g],distractors(unit,i))
          random.Random(i).shuffle(ds)
          s=g.text.index("XYZZ")
          ex=make(ds,[("g",s,s+4)],name=f"e{i}")
          r=render(ex,tok,L); k+=1
          low=min(low,r.length/L); bad+=r.length<.99*L; over+=r.length>L
      print(surplus,L,unit,"bad",bad,"of",k,"over",over,round(low,4),round((time.time()-t)/k*1000,1),"ms")
